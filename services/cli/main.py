"""The program `llmring-api`."""

import click

from services.cli.dead_letters import dead_letters
from services.cli.doctor import doctor
from services.cli.keys import keys
from services.cli.migrate import migrate
from services.cli.receipts import receipts
from services.cli.registry import registry
from services.cli.serve import serve
from services.cli.usage import usage
from services.cli.version import VERSION
from services.cli.witness import witness
from services.cli.worker import worker


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="llmring-api")
def main() -> None:
    """Price, add up and sign the usage that programs calling LLMs report."""


main.add_command(serve)
main.add_command(worker)
main.add_command(migrate)
main.add_command(keys)
main.add_command(dead_letters)
main.add_command(doctor)
main.add_command(receipts)
main.add_command(usage)
main.add_command(registry)
main.add_command(witness)
