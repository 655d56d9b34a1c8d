"""The HTTP paths of webhooks."""
