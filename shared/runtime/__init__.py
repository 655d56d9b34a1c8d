"""How a process lives: services that are put together, started, served, drained and stopped."""
