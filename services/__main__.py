"""`python -m services` is `llmring-api`."""

from services.cli.main import main

main()
