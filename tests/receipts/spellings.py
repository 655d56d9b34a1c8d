"""Secrets in all their spellings, to be found in whatever a server answers."""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final
from uuid import UUID

SHORTEST: Final = 8
"""Bytes of a spelling; what is shorter stands in any text by chance."""


def spellings(secret: str | int) -> Iterator[bytes]:
    """All the ways in which it may be written."""
    raws = [str(secret).encode()]
    if isinstance(secret, int):
        raws += [secret.to_bytes(8, order) for order in ("big", "little")]  # type: ignore[arg-type]
    else:
        yield json.dumps(secret)[1:-1].encode()
        try:
            named = UUID(secret)
        except ValueError:
            pass
        else:
            raws += [named.bytes, named.bytes_le, named.hex.encode(), str(named.int).encode()]
        if len(secret) == 88:  # a signature
            raws.append(base64.b64decode(secret))
    for raw in raws:
        yield raw
        yield raw.upper()
        yield raw.hex().encode()
        yield raw.hex().upper().encode()
        for before in range(3):  # wherever in a longer text it was encoded
            whole = base64.b64encode(bytes(before) + raw)
            part = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
            yield part
            yield part.replace(b"+", b"-").replace(b"/", b"_")


class Written:
    """Secrets in all their spellings, to be found in texts: there are too many to search for one by one."""

    def __init__(self, secrets: Iterable[str | int]) -> None:
        self._by_start: dict[bytes, list[tuple[bytes, str | int]]] = defaultdict(list)
        for secret in secrets:
            for spelling in spellings(secret):
                assert len(spelling) >= SHORTEST, spelling
                self._by_start[spelling[:SHORTEST]].append((spelling, secret))

    def find(self, text: bytes) -> list[tuple[bytes, str | int]]:
        """Each spelling that stands in a text, and the secret that it is of."""
        places = (at for at in range(len(text)) if text[at : at + SHORTEST] in self._by_start)
        return [
            pair
            for at in places
            for pair in self._by_start[text[at : at + SHORTEST]]
            if text.startswith(pair[0], at)
        ]
