"""SQL of the schema `receipts`. Nothing here commits: the caller's transaction does."""
