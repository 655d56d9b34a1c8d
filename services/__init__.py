"""The six services, each in a folder of its own, and the command line that composes them."""
