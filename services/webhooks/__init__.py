"""Webhooks: tells accounts' own servers what happened, signed, again and again until they have taken it."""
