"""The program `llmring-api`."""

import importlib
from typing import Final

import click

from services.cli.version import VERSION

COMMANDS: Final = {
    "dead-letters": "services.cli.dead_letters",
    "doctor": "services.cli.doctor",
    "keys": "services.cli.keys",
    "migrate": "services.cli.migrate",
    "receipts": "services.cli.receipts",
    "registry": "services.cli.registry",
    "serve": "services.cli.serve",
    "usage": "services.cli.usage",
    "webhooks": "services.cli.webhooks",
    "witness": "services.cli.witness",
    "worker": "services.cli.worker",
}
"""Where each command is; it has the command's own name there."""


class _OnDemand(click.Group):
    """Imports a command when it is asked for: each of them brings half of the system along."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)  # noqa: S101 - the table says so
        return command


@click.group(cls=_OnDemand, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="llmring-api")
def main() -> None:
    """Price, add up and sign the usage that programs calling LLMs report."""
