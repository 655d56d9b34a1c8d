"""The registry versions in memory, by the time they came into force: what every record is priced from."""
