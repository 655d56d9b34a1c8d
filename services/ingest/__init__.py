"""Ingest: takes usage records in, prices them, appends them to the event log, and answers what was used."""
