"""Files with secrets in them."""

import os
from pathlib import Path


def belongs_to_another(folder: Path) -> bool:
    """Whether a folder is another user's, who could not read what this one writes there."""
    return folder.exists() and folder.stat().st_uid != os.geteuid()


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read, and that is whole on disk when this returns.

    Raises:
        FileExistsError: it is there already.
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
