"""An answer as bytes, its strong entity tags, and its compressed forms, each made when first asked for."""

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

import cramjam

_WORTH_COMPRESSING_BYTES: Final = 1024
_WORTH_A_THREAD_BYTES: Final = 256 * 1024
_COST_OF_KEEPING_BYTES: Final = 1024

Compress = Callable[[bytes], bytes]

CODINGS: Final[dict[str, tuple[Compress, Compress]]] = {
    "zstd": (
        lambda body: bytes(cramjam.zstd.compress(body, 9)),
        lambda body: bytes(cramjam.zstd.compress(body, 1)),
    ),
    "br": (
        lambda body: bytes(cramjam.brotli.compress(body, 5)),
        lambda body: bytes(cramjam.brotli.compress(body, 1)),
    ),
    "gzip": (
        lambda body: gzip.compress(body, 6, mtime=0),
        lambda body: gzip.compress(body, 1, mtime=0),
    ),
}
"""Content codings, the preferred one first: thoroughly for what is sent often, and fast for the rest."""


class Edition:
    """One answer.

    Each coding has its own strong tag, since a strong tag stands for exact bytes (RFC 9110, 8.8.3.3). A
    client that names any of them has this content.

    Args:
        body: the plain bytes.
        tag: of the plain bytes, without quotes.
        lasting: it is worth the time to compress it well.
    """

    __slots__ = ("_forms", "_lasting", "body", "tag")

    def __init__(self, body: bytes, tag: str, *, lasting: bool = False) -> None:
        self.body = body
        self.tag = tag
        self._lasting = lasting
        self._forms: dict[str | None, bytes] = {None: body}

    def settle_coding(self, coding: str | None) -> str | None:
        """The coding in which it is sent to who takes this one: none where that is not worth it."""
        return coding if len(self.body) >= _WORTH_COMPRESSING_BYTES else None

    def tag_of(self, coding: str | None) -> str:
        """The tag of the bytes in a coding."""
        return self.tag if coding is None else f"{self.tag}-{coding}"

    def find_form(self, coding: str | None) -> bytes | None:
        """The bytes in a coding, if they were made already."""
        return self._forms.get(coding)

    async def get_form(self, coding: str | None) -> bytes:
        """The bytes in a coding. What takes long is done beside the event loop."""
        form = self._forms.get(coding)
        if form is None:
            thorough, fast = CODINGS[coding or ""]
            compress = thorough if self._lasting else fast
            if len(self.body) < _WORTH_A_THREAD_BYTES:
                form = compress(self.body)
            else:
                form = await asyncio.to_thread(compress, self.body)
            self._forms[coding] = form
        return form


class EditionCache:
    """The editions used last, as many as the given bytes hold."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._editions: OrderedDict[Hashable, Edition] = OrderedDict()

    def find(self, name: Hashable) -> Edition | None:
        """An edition that is kept."""
        edition = self._editions.get(name)
        if edition is not None:
            self._editions.move_to_end(name)
        return edition

    def keep(self, name: Hashable, edition: Edition) -> Edition:
        """Keep an edition, instead of those not used for longest; gives it back."""
        if name not in self._editions:
            self._bytes += _size_of(edition)
        self._editions[name] = edition
        while self._bytes > self._max_bytes:
            _, dropped = self._editions.popitem(last=False)
            self._bytes -= _size_of(dropped)
        return edition


def _size_of(edition: Edition) -> int:
    # Names, and the compressed forms, which are a small part of the plain one.
    return len(edition.body) * 5 // 4 + _COST_OF_KEEPING_BYTES
