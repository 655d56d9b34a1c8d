"""The routing table: which service answers which path, and who may ask. The same in one process and in many.

A path is matched as it was sent, byte for byte. Whatever could mean one thing here and another thing to a
service behind (an empty or a dotted segment, a control character, a backslash, an encoded character within
the part that decides) is matched by nothing, so it is a 404 and is never forwarded.
"""

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Final, NamedTuple

from litestar.types import Receive, Scope, Send

from shared.errors import NotFoundError
from shared.web.client import LONGEST_PATIENCE, Upstream


class Access(Enum):
    """What becomes of an API key."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    """Without one the client's address is limited; one that is sent must be good."""
    IGNORED = "ignored"
    """Not looked at: whoever asks for a first key may send an old one."""


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        path: matched exactly, with or without a slash at the end. Of two rows the later one rules.
        below: whether everything under it goes the same way.
        open_to: methods for which a key is optional although `access` says required.
        head_as_get: HEAD is asked as GET and the body left out, so that no service has to care; False where
            a GET is not safe (RFC 9110, 9.2.1).
        patience: how long a service may be silent before its answer is given up; None as a rule.
        takes_json: a body that claims to be something else is refused.
        counts_once: a POST to the path itself with an `Idempotency-Key` may arrive twice, and counts once.
        with_opener: the service has to open what was sealed for the session that asks.
    """

    path: str
    service: str
    access: Access
    below: bool = False
    open_to: tuple[str, ...] = ()
    head_as_get: bool = True
    patience: timedelta | None = None
    takes_json: bool = True
    counts_once: bool = False
    with_opener: bool = False


ROWS: Final = (
    Row("/registry", "registry", Access.OPTIONAL, below=True),
    Row("/registry.json", "registry", Access.OPTIONAL),
    Row(
        "/registry/versions", "registry", Access.REQUIRED, open_to=("GET", "HEAD"), patience=LONGEST_PATIENCE
    ),
    Row("/api/v1/log", "ingest", Access.REQUIRED, below=True, counts_once=True),
    Row("/api/v1/logs", "ingest", Access.REQUIRED, below=True),
    Row("/api/v1/logs/import", "ingest", Access.REQUIRED, patience=LONGEST_PATIENCE, takes_json=False),
    Row("/api/v1/stats", "ingest", Access.REQUIRED),
    Row("/api/v1/budgets", "ingest", Access.REQUIRED, below=True),
    Row("/api/v1/receipts", "receipts", Access.REQUIRED, below=True, counts_once=True),
    Row("/api/v1/receipts/verify", "receipts", Access.REQUIRED, open_to=("POST",)),
    Row("/api/v1/receipts/public-keys.json", "receipts", Access.REQUIRED, open_to=("GET", "HEAD")),
    Row("/api/v1/receipts/public-key.pem", "receipts", Access.REQUIRED, open_to=("GET", "HEAD")),
    Row("/api/v1/receipts/jwks.json", "receipts", Access.REQUIRED, open_to=("GET", "HEAD")),
    Row("/api/v1/receipts/checkpoint", "receipts", Access.REQUIRED, open_to=("GET", "HEAD")),
    Row("/api/v1/receipts/consistency", "receipts", Access.REQUIRED, open_to=("GET", "HEAD")),
    Row("/api/v1/receipts/verifier-keys.txt", "receipts", Access.REQUIRED, open_to=("GET", "HEAD")),
    Row("/api/v1/receipts/witnesses", "receipts", Access.REQUIRED, open_to=("GET", "HEAD")),
    Row("/api/v1/receipts/cosignatures", "receipts", Access.REQUIRED, open_to=("POST",), takes_json=False),
    Row("/api/v1/receipts/tile", "receipts", Access.REQUIRED, open_to=("GET", "HEAD"), below=True),
    Row("/api/v1/webhooks", "webhooks", Access.REQUIRED, below=True),
    Row("/api/v1/register", "auth", Access.IGNORED),
    Row("/api/v1/cli/register", "auth", Access.IGNORED),
    Row("/api/v1/login", "auth", Access.IGNORED),
    Row("/api/v1/auth/login", "auth", Access.IGNORED, below=True, head_as_get=False),
    Row("/api/v1/auth/login", "auth", Access.IGNORED),  # the path itself only lists: a later row rules it
    Row("/api/v1/auth/callback", "auth", Access.IGNORED, below=True, head_as_get=False),
    Row("/api/v1/auth/retrieve-api-key", "auth", Access.REQUIRED, head_as_get=False, with_opener=True),
    Row("/api/v1/password-reset", "auth", Access.IGNORED),
    Row("/api/v1/password-reset/confirm", "auth", Access.IGNORED),
    Row("/api/v1/auth/me", "auth", Access.REQUIRED),
    Row("/api/v1/auth/logout", "auth", Access.REQUIRED),
    Row("/api/v1/auth/regenerate-api-key", "auth", Access.REQUIRED),
    Row("/api/v1/keys", "auth", Access.REQUIRED, below=True),
    Row("/api/v1/account", "auth", Access.REQUIRED),
    Row("/api/v1/audit", "auth", Access.REQUIRED),
    Row("/api/v1/admin", "auth", Access.REQUIRED, below=True, patience=LONGEST_PATIENCE),
    Row("/api/v1/admin/usage", "ingest", Access.REQUIRED, below=True, patience=LONGEST_PATIENCE),
)

SERVICES: Final = tuple(dict.fromkeys(row.service for row in ROWS))

_NOT_KEPT: Final = tuple(
    prefix + name for name in (b"/conversations", b"/templates", b"/mcp") for prefix in (b"", b"/api/v1")
)
NOT_KEPT_DETAIL: Final = (
    "This system does not keep prompts and responses: it records usage figures only, so there are no "
    "conversations, templates or MCP data here."
)

Forward = Callable[[Scope, Receive, Send], Awaitable[None]]


class Target:
    """Where a path leads."""

    __slots__ = ("access", "forward", "head_as_get", "open_to", "route", "route_below", "row", "takes_json")

    def __init__(self, row: Row, upstream: Upstream) -> None:
        self.row = row
        self.forward: Forward = functools.partial(
            upstream.forward, patience=row.patience, keyed_path=row.path if row.counts_once else None
        )
        self.access = row.access
        self.open_to = frozenset(row.open_to)
        self.head_as_get = row.head_as_get
        self.takes_json = row.takes_json
        # Templates of its paths, for what is measured.
        self.route = row.path
        self.route_below = f"{row.path}/*"

    def access_for(self, method: str) -> Access:
        """What becomes of an API key in a request of this method."""
        return Access.OPTIONAL if method in self.open_to else self.access


class RouteTable:
    """The rows, bound to the upstreams that answer them."""

    def __init__(self, upstreams: Mapping[str, Upstream], rows: Iterable[Row] = ROWS) -> None:
        targets = [Target(row, upstreams[row.service]) for row in rows]
        self.exact: dict[bytes, Target] = {target.row.path.encode(): target for target in targets}
        """Paths that need no search: the hot path looks here first."""
        # The longest first, so that a path is ruled by the row that says most about it.
        self._below = sorted(
            ((target.row.path.encode() + b"/", target) for target in targets if target.row.below),
            key=lambda entry: -len(entry[0]),
        )

    def find_target(self, raw_path: bytes, path: str) -> Target | None:
        """Where a path leads; None when nothing is there.

        Args:
            raw_path: as it was sent, without the query, and without a slash at its end.
            path: the same, percent-decoded.

        Raises:
            NotFoundError: it is one of the paths by which the reference server keeps prompts and responses.
        """
        if not is_plain(path):
            return None
        target = self.exact.get(raw_path)
        if target is not None:
            return target
        for prefix, target in self._below:
            if raw_path.startswith(prefix):
                return target
        if any(raw_path == kept or raw_path.startswith(kept + b"/") for kept in _NOT_KEPT):
            raise NotFoundError(NOT_KEPT_DETAIL)
        return None

    def access_of(self, path: str, method: str) -> Access | None:
        """What becomes of an API key on a path (or path template) of the published documents."""
        try:
            target = self.find_target(path.encode(), path)
        except NotFoundError:
            return None
        return None if target is None else target.access_for(method)


def is_plain(path: str) -> bool:
    """Whether a decoded path means the same to everybody: no empty or dotted segment, nothing invisible."""
    return (
        path.isprintable()
        and "\\" not in path
        and "//" not in path
        and not path.endswith("/")
        and "/./" not in path
        and "/../" not in path
        and not path.endswith(("/.", "/.."))
    )
