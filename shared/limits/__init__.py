"""Rate limiting: the port, an exact sliding window in memory, and who an address stands for."""
