"""The HTTP door of the registry."""
