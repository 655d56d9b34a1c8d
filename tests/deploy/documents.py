"""YAML, read and written as plain values."""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # publishes no types, and its stubs are not needed elsewhere


def read_yaml(path: Path) -> Any:
    """The one document of a file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def split_yaml(text: str) -> list[dict[str, Any]]:
    """Every document of a text that is not empty."""
    return [each for each in yaml.safe_load_all(text) if each]


def write_yaml(value: Any) -> str:
    """A document."""
    return str(yaml.safe_dump(value))
