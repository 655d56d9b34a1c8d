"""The wire: what travels over HTTP and topics, as msgspec Structs and nothing else."""
