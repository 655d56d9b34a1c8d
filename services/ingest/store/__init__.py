"""The SQL of the schema `usage`."""
