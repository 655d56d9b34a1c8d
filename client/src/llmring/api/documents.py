"""Documents that the server publishes, kept in memory and on disk: the registry, the public keys.

A file holds a head of one line and the body. It is written beside its place and moved there, so that any
number of processes may read and write at once; a head that does not fit its body is no file at all.
"""

import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from llmring.api.exceptions import APIError, APINetworkError, APIRateLimitError, APIServerError
from llmring.api.exchange import Flow, Request, exchange
from llmring.api.models import decode

T = TypeVar("T")

log = logging.getLogger("llmring.api")

FOR_EVER: Final = float("inf")
_AFTER_FAILURE_S: Final = 30.0
"""For so long a stale document is taken without asking again, once the server could not be reached."""


class _Head(msgspec.Struct):
    etag: str | None
    checked_at: float
    sha256: str


class _Kept(Generic[T]):
    """A document in memory; `checked_at` is when the server last said that it is good."""

    __slots__ = ("body", "checked_at", "etag", "next_try_at", "value")

    def __init__(self, body: bytes, etag: str | None, checked_at: float, value: T) -> None:
        self.body = body
        # One that cannot be sent back in a header is none.
        self.etag = etag if etag and etag.isascii() and etag.isprintable() else None
        self.checked_at = checked_at
        self.next_try_at = 0.0
        self.value = value

    def is_fresh(self, ttl_s: float) -> bool:
        """Whether it may be taken without asking. One from the future was written by a wrong clock."""
        now = time.time()
        return ttl_s == FOR_EVER or 0 <= now - self.checked_at < ttl_s


class Documents:
    """What was fetched of one server.

    Args:
        folder: of the files; None for memory alone. A folder that cannot be used is no error.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._kept: dict[str, _Kept[Any]] = {}

    def get(self, name: str, path: str, kind: type[T], ttl_s: float) -> Flow[T]:
        """The document, from here while it is fresh, and from here as well while the server is away.

        Args:
            name: of the file, unique among this server's documents.
            path: where the server has it.
            kind: of its value.
            ttl_s: for how long it is taken without asking; `FOR_EVER` for one that never changes.

        Raises:
            APIError: there is none here, and the server gave none.
        """
        kept = self._find(name, kind)
        if kept is not None and (kept.is_fresh(ttl_s) or time.monotonic() < kept.next_try_at):
            return kept.value
        try:
            return (yield from self._ask(name, path, kind, kept))
        except (APINetworkError, APIServerError, APIRateLimitError) as error:
            if kept is None:
                raise
            kept.next_try_at = time.monotonic() + _AFTER_FAILURE_S
            age_s = time.time() - kept.checked_at
            log.warning("%s is %.0f s old and taken as it is: %s", name, age_s, error)
            return kept.value

    def expire(self, name: str) -> None:
        """Ask the server at the next opportunity, however fresh the document is."""
        if (kept := self._kept.get(name)) is not None:
            kept.checked_at = kept.next_try_at = 0.0

    def _ask(self, name: str, path: str, kind: type[T], kept: _Kept[T] | None) -> Flow[T]:
        headers = {"If-None-Match": kept.etag} if kept is not None and kept.etag else {}
        response = yield from exchange(Request(method="GET", path=path, headers=headers), accept={304})
        if response.status == 304:
            if kept is None:
                raise APIServerError(f"{path} answered 304 to a question without a condition", status=304)
            kept.checked_at = time.time()
            found = kept
        else:
            value = decode(response.body, kind)
            found = _Kept(response.body, response.headers.get("ETag"), time.time(), value)
        self._kept[name] = found
        self._write(name, found)
        return found.value

    def _find(self, name: str, kind: type[T]) -> _Kept[T] | None:
        kept = self._kept.get(name)
        if kept is None and (kept := self._read(name, kind)) is not None:
            self._kept[name] = kept
        return kept

    def _read(self, name: str, kind: type[T]) -> _Kept[T] | None:
        if self._folder is None:
            return None
        try:
            first, _, body = (self._folder / name).read_bytes().partition(b"\n")
            head = msgspec.json.decode(first, type=_Head)
            if hashlib.sha256(body).hexdigest() != head.sha256:
                return None
            return _Kept(body, head.etag, head.checked_at, decode(body, kind))
        except (
            OSError,
            ValueError,
            APIError,
        ):  # not there, or damaged, or of another version of this program
            return None

    def _write(self, name: str, kept: _Kept[Any]) -> None:
        if self._folder is None:
            return
        head = _Head(kept.etag, kept.checked_at, hashlib.sha256(kept.body).hexdigest())
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(dir=self._folder, prefix=f".{name}-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(msgspec.json.encode(head) + b"\n" + kept.body)
                Path(path).replace(self._folder / name)
            except OSError:
                Path(path).unlink(missing_ok=True)
                raise
        except OSError as error:
            log.debug("%s is kept in memory alone: %s", name, error)
