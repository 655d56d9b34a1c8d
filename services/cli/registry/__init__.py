"""`llmring-api registry`: publish versions of the registry, fill it from other sources, and look at it."""

import click

from services.cli.registry.imports import import_source
from services.cli.registry.publish import publish
from services.cli.registry.read import diff, export, list_versions, show


@click.group()
def registry() -> None:
    """Publish models and prices, import them from other sources, and compare versions."""


for command in (publish, import_source, diff, export, list_versions, show):
    registry.add_command(command)
