"""The door to HTTP: applications, problem documents, principals, and calls from one service to another."""
