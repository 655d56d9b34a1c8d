"""The program `llmring-api`."""

import click

from services.cli.keys import keys
from services.cli.serve import VERSION, serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="llmring-api")
def main() -> None:
    """Price, add up and sign the usage that programs calling LLMs report."""


main.add_command(serve)
main.add_command(keys)
