"""The check over all services: topics, rows, sums and receipts. It knows them, as `all_in_one` does."""
