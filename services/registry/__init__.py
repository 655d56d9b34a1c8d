"""Registry: which models there are, what they cost, and what each version ever published said of it."""
