"""Logging in with an account elsewhere: at Google, by OpenID Connect, or at GitHub."""
