"""Which server the commands of this folder talk to, and by which key."""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def _check_url(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise click.BadParameter("must be like http://127.0.0.1:8080, without a user")
    return url.rstrip("/")


def _check_key(_context: click.Context, _parameter: click.Parameter, key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise click.BadParameter("must be printable ASCII without blanks")
    return key


def target_options(command: Command) -> Command:
    """Add `--url` and `--api-key`, which the environment may give as well."""
    command = click.option(
        "--api-key",
        "key",
        envvar="LLMRING_API_KEY",
        required=True,
        callback=_check_key,
        help="[env: LLMRING_API_KEY]",
    )(command)
    return click.option(
        "--url",
        envvar="LLMRING_API_URL",
        default="http://127.0.0.1:8080",
        show_default=True,
        callback=_check_url,
        help="of the server [env: LLMRING_API_URL]",
    )(command)
