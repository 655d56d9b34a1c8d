"""Auth: accounts, their tiers and API keys, and the answer to whose key this is."""
