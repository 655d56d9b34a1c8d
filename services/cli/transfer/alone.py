"""One import of a source at a time: two would write each other's place, and each other's refusals."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import click


@contextlib.contextmanager
def hold_source(path: Path, source: str) -> Iterator[None]:
    """Hold a file of this name, which is made and taken away again, against every other process.

    Raises:
        click.ClickException: another process holds it, or it cannot be made.
    """
    try:
        lock = _lock(path)
    except BlockingIOError:
        raise click.ClickException(
            f"Another import of {source} is running, and holds {path}: wait for it, or stop it."
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be made: {error.strerror}.") from None
    try:
        yield
    finally:
        # While it is held: whoever opened it before and gets it now sees that its name is gone.
        path.unlink(missing_ok=True)
        os.close(lock)


def _lock(path: Path) -> int:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(lock)):
                return lock
        except FileNotFoundError:
            pass  # whoever held it has just taken it away
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
