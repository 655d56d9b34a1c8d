"""`llmring-api usage import` and `usage export`: records from elsewhere, and to elsewhere."""
