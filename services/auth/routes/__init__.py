"""Auth's HTTP door: each handler reads the request, asks one use case and writes the answer."""
