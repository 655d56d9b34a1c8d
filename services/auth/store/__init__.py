"""The tables of the `auth` schema: accounts, API keys, outbox."""
