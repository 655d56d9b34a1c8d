"""docker-compose.yml as data, read without Docker."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.deploy.container import Container
from tests.deploy.documents import read_yaml
from tests.deploy.image import read_image
from tests.docs.pages import ROOT

PATH: Final = ROOT / "docker-compose.yml"
OURS: Final = (
    "migrate",
    "gateway",
    "registry",
    "ingest",
    "auth",
    "receipts",
    "webhooks",
    "rater",
    "issuer",
    "deliverer",
)

PROGRAM: Final = Path(sys.executable).parent / "llmring-api"
"""Our program, where there is no image."""

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


class MissingVariableError(Exception):
    """A variable without which the file cannot be used."""


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The whole file, variables filled in.

    Raises:
        MissingVariableError: one that must be given is not.
    """
    filled: dict[str, Any] = _fill_in(read_yaml(PATH), variables)
    return filled


def read_container(compose: Mapping[str, Any], name: str) -> Container:
    """One service of ours; its entrypoint is the image's."""
    service = compose["services"][name]
    test = service["healthcheck"].get("test", [])
    return Container(
        name=name,
        command=[*read_image().entrypoint, *service["command"]],
        environment=dict(service["environment"]),
        health_check=read_command(test),
    )


def read_command(test: list[str]) -> list[str]:
    """A health check as a command."""
    match test:
        case ["CMD", *command]:
            return command
        case ["CMD-SHELL", script]:
            return ["sh", "-c", script]
        case _:
            return []


def read_env_file(text: str) -> dict[str, str]:
    """A `.env` file: one `NAME=value` a line."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _fill_in(part: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _fill_in(value, variables) for key, value in part.items()}
    if isinstance(part, list):
        return [_fill_in(each, variables) for each in part]
    if not isinstance(part, str):
        return part

    def fill(match: re.Match[str]) -> str:
        escaped, name, kind, text = match.groups()
        if escaped:
            return "$"
        value = variables.get(name, "")
        if not value and kind == "?":
            raise MissingVariableError(f"{name}: {text}")
        return value or (text if kind == "-" else "")

    return _VARIABLE.sub(fill, part)
