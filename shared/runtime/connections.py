"""How many connections a public port holds, altogether and of one client."""

import resource
from collections import Counter
from collections.abc import Sequence
from typing import Final

from shared.limits.address import Network, bucket_key, is_trusted
from shared.telemetry.metrics import CONNECTIONS, CONNECTIONS_REFUSED

SHARE_OF_ONE: Final = 10
"""One client may hold a tenth of all: no single machine shuts the others out."""

_OWN_FILES: Final = 256
"""Open files that are not clients' connections: pools, listeners, files."""


class Connections:
    """Counts them, and says when there are too many.

    Args:
        most: as many at a time.
        trusted: networks of our own proxies, each of which speaks for many clients; they are only counted
            altogether.
    """

    def __init__(self, most: int, trusted: Sequence[Network] = ()) -> None:
        self.most = most
        self.most_of_one = max(1, most // SHARE_OF_ONE)
        self._trusted = trusted
        self._open = 0
        self._of: Counter[str] = Counter()

    def take(self, peer: str) -> bool:
        """Count a new connection from this address, unless there are too many; then it must be closed."""
        client = bucket_key(peer)
        if self._open >= self.most or (
            self._of[client] >= self.most_of_one and not is_trusted(peer, self._trusted)
        ):
            CONNECTIONS_REFUSED.inc()
            return False
        self._open += 1
        self._of[client] += 1
        CONNECTIONS.set(self._open)
        return True

    def give_back(self, peer: str) -> None:
        """Count one less: a connection that was taken has ended."""
        client = bucket_key(peer)
        self._open -= 1
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]
        CONNECTIONS.set(self._open)


def allow_open_files(most: int) -> int:
    """Let this process have as many connections as files may be open for; tells how many that are.

    The usual limit of 1,024 can be raised by the process itself, up to a hard one. Where clients used up that
    one too, connections to Postgres and Redis would fail with theirs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - _OWN_FILES))
