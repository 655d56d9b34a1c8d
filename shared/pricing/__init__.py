"""What a call costs: pure functions from tokens, a model and a service tier to an exact amount."""
