"""Receipts: signed proof of what was recorded, one for each rated usage record and on request."""
