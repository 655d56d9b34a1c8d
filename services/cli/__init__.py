"""The command line `llmring-api`: the outermost room, the only one that reads the environment."""
