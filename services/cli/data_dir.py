"""The data directory: one process at a time, readable by its owner alone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def hold_data_dir(path: Path) -> Iterator[Path]:
    """Make the directory if need be, and hold it against every other process.

    Raises:
        click.ClickException: another process holds it, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise click.ClickException(f"The data directory {path} cannot be used: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise click.ClickException(f"Another process is using the data directory {path}.") from None
    try:
        yield path
    finally:
        os.close(lock)
