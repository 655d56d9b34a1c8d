"""`llmring-api worker`: one consumer as a process of its own."""

import click

from services.cli.process import run_one
from services.cli.settings import load_settings
from services.separate import WORKERS


@click.command()
@click.argument("name", type=click.Choice(list(WORKERS)))
def worker(name: str) -> None:
    """Run the consumer NAME. Several instances of one share its topic's partitions.

    It answers /health/live, /health/ready and /metrics at LLMRING_HOST:LLMRING_PORT.
    """
    run_one(name, WORKERS[name], load_settings())
