"""Sorting more than fits into memory: runs on disk, merged when they are read."""

import heapq
import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final

import msgspec

Entry = tuple[Any, ...]

_IN_MEMORY: Final = 50_000
_CHUNK: Final = 500

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Entry]).decode


class SortedRuns:
    """Tuples of numbers, texts, bytes and None, given back in their order. Leave its block to free the disk.

    Args:
        in_memory: how many are held in memory before they go to a temporary file.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._newest: list[Entry] = []
        self._runs: list[list[tuple[int, int]]] = []
        # A file that has no name: it goes with the process, however that ends.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> "SortedRuns":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, entries: Sequence[Entry]) -> None:
        """Take some in. Their members must be comparable as far as they do not differ before."""
        self._newest.extend(entries)
        if len(self._newest) >= self._in_memory:
            self._store_run()

    def merged(self) -> Iterator[list[Entry]]:
        """All of them in order, some at a time; nothing may be added any more."""
        self._newest.sort()
        batch: list[Entry] = []
        for entry in heapq.merge(*map(self._read_run, self._runs), self._newest):
            batch.append(entry)
            if len(batch) == _CHUNK:
                yield batch
                batch = []
        if batch:
            yield batch

    def _store_run(self) -> None:
        self._newest.sort()
        run: list[tuple[int, int]] = []
        self._file.seek(0, 2)
        for start in range(0, len(self._newest), _CHUNK):
            encoded = _encode(self._newest[start : start + _CHUNK])
            run.append((self._file.tell(), len(encoded)))
            self._file.write(encoded)
        self._runs.append(run)
        self._newest = []

    def _read_run(self, run: list[tuple[int, int]]) -> Iterator[Entry]:
        for start, length in run:
            self._file.seek(start)
            yield from _decode(self._file.read(length))
