"""What auth, gateway and services tell one another about who is calling."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from shared.contracts.usage import Instant

SCOPE_LOG = "log"
SCOPE_READ = "read"
SCOPE_ADMIN = "admin"
SCOPE_OPERATOR = "operator"
SCOPE_GATEWAY = "gateway"
"""Held by the gateway's own principal alone: it may ask auth to verify a key."""


SCOPE_SESSION = "session"
"""Held by sessions alone: what is for somebody who logged in, and not for a program with a key."""

SESSION_SCOPES = (SCOPE_READ, SCOPE_ADMIN, SCOPE_SESSION)

CredentialKind = Literal["key", "session"]

CallerKind = Literal["key", "session", "operator"]
"""What somebody calls by; `operator` is a key of that scope."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling, as the gateway vouches for it in a signed token.

    Attributes:
        key_id: the API key, or the session.
        scopes: what the key may do: `log`, `read`, `admin`, `operator`, or what a session may.
        requests_per_minute: the limit of the key; None is no limit.
        logs_per_month: the account's monthly quota of records; None is no limit.
        expires_at: epoch second at which the token that carries it ends.
    """

    account_id: UUID
    key_id: UUID
    scopes: tuple[str, ...]
    requests_per_minute: int | None = None
    logs_per_month: int | None = None
    expires_at: int = 0

    @property
    def kind(self) -> CallerKind:
        """What it is that `key_id` names."""
        if SCOPE_SESSION in self.scopes:
            return "session"
        return "operator" if SCOPE_OPERATOR in self.scopes else "key"


class KeyLookup(msgspec.Struct, frozen=True):
    """The gateway's question: whose key, or whose session's token, has this SHA-256 (lower-case hex)?"""

    key_sha256: str
    kind: CredentialKind = "key"


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Auth's answer to a `KeyLookup` that found a live key or session.

    Attributes:
        key_id: the key, or the session.
        expires_at: the instant at which the key itself ends, in seconds since the epoch, with their fraction;
            None is never. For a session, if it is not used any more.
    """

    account_id: UUID
    key_id: UUID
    scopes: tuple[str, ...]
    tier: str
    requests_per_minute: int | None
    logs_per_month: int | None
    expires_at: float | None


OWNED_PATH = "/internal/keys/owned"
MAX_KEYS_ASKED = 100


class OwnedQuestion(msgspec.Struct, frozen=True):
    """Which of these are keys of the account, or were until they ended?"""

    account_id: UUID
    key_ids: Annotated[list[UUID], msgspec.Meta(max_length=MAX_KEYS_ASKED)]


class OwnedKeys(msgspec.Struct, frozen=True):
    """Those that are."""

    key_ids: list[UUID]


class KeysChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Event `keys.changed`: whatever was cached of this account's keys and sessions is out of date.

    Attributes:
        key_ids: which; none means all.
        suspended: whether the account is suspended from then on; None says nothing of that.
        void_before: whatever was set up for the account until then, or by these keys, was somebody's who had
            no right to it, and ends. None: nothing does.
    """

    v: int = 1
    account_id: UUID
    key_ids: tuple[UUID, ...] = ()
    changed_at: Instant
    suspended: bool | None = None
    void_before: Instant | None = None
