"""The HTTP door of the receipts service."""
