"""SIGTERM while a process is still starting."""

from types import FrameType
from typing import NoReturn


def leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal.signal has it
    """End the start in order: what has been started is stopped again."""
    raise SystemExit(0)
