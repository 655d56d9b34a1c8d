"""Which server the commands of this folder talk to, and by which key."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def target_options(command: Command) -> Command:
    """Add `--url` and `--api-key`, which the environment may give as well."""
    command = click.option(
        "--api-key", "key", envvar="LLMRING_API_KEY", required=True, help="[env: LLMRING_API_KEY]"
    )(command)
    return click.option(
        "--url",
        envvar="LLMRING_API_URL",
        default="http://127.0.0.1:8080",
        show_default=True,
        help="of the server [env: LLMRING_API_URL]",
    )(command)
