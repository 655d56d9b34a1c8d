"""The file that holds the operator's key: there whole or not at all, and readable by its owner alone."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from services.auth.api_keys import ApiKey, read_api_key


class KeptKey(NamedTuple):
    """The key that the file holds, and whether it was put there just now."""

    key: ApiKey
    written: bool


class KeyFile:
    """One key in one file. Its calls block, so they belong in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str | None:
        """The text in the file, without the line's end; None when there is no file."""
        try:
            return self.path.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return None

    def read_or_write(self, key: ApiKey) -> KeptKey:
        """Put a key into the file, durably, or read the one that is there; of several callers one writes.

        Raises:
            ValueError: what is there is no key.
            OSError: the file cannot be read or written.
        """
        text = self.read()
        if text is None:
            if self._write(key.plain):
                return KeptKey(key, written=True)
            text = self.read() or ""
        try:
            return KeptKey(read_api_key(text), written=False)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}. Move the file away and start again.") from None

    def remove(self, key: ApiKey) -> None:
        """Delete the file, if this key is what it holds."""
        if self.read() == key.plain:
            self.path.unlink(missing_ok=True)

    def _write(self, plain: str) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(plain + "\n")
                file.flush()
                os.fsync(file.fileno())
            return self._put_in_place(draft)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()

    def _put_in_place(self, draft: Path) -> bool:
        try:
            # A link appears whole and never replaces a file that another process has put there.
            self.path.hardlink_to(draft)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            draft.replace(self.path)
        self._sync_folder()
        return True

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
