"""Real servers for the tests: containers where Docker answers, processes of this machine elsewhere."""
