"""Passwords that are long enough, and that everybody tries first."""

from importlib.resources import files
from typing import Final


def is_common(password: str) -> bool:
    """Whether a password, in whatever case, is a common one or a single English word."""
    return password.lower() in _COMMON


def _load() -> frozenset[str]:
    text = (files("services.auth") / "common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


_COMMON: Final = _load()
