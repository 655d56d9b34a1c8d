"""What travels over the paths of keys: msgspec Structs and nothing else."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from services.auth.messages import Text

MAX_KEY_PAGE: Final = 500
DEFAULT_GRACE_S: Final = 86_400
MAX_GRACE_S: Final = 30 * 86_400

Scope = Literal["log", "read", "admin", "operator"]
Scopes = Annotated[list[Scope], msgspec.Meta(min_length=1)]
Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
GraceSeconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_GRACE_S)]


class KeyRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/keys`. Without `scopes` it may write and read usage, as far as the asking key may."""

    name: Text | None = None
    scopes: Scopes | None = None
    expires_at: Instant | None = None


class KeyChange(msgspec.Struct, kw_only=True):
    """`PATCH /api/v1/keys/{key_id}`: what is absent stays as it is; `expires_at` of null is never."""

    name: Text | UnsetType | None = UNSET
    scopes: Scopes | UnsetType = UNSET
    expires_at: Instant | UnsetType | None = UNSET


class KeyRotation(msgspec.Struct, kw_only=True):
    """`POST /api/v1/keys/{key_id}/rotate`: for how long the old key goes on, a day by default."""

    grace_seconds: GraceSeconds = DEFAULT_GRACE_S


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key as its owner sees it; its plain text is never shown again.

    Attributes:
        prefix: its first characters.
        last_used_at: to the minute.
        current: it is the one that asks.
    """

    id: UUID
    name: str | None
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    current: bool


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Keys, newest first; `next` is the `cursor` of the following page, or null on the last one."""

    keys: list[KeyView]
    next: UUID | None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key. `api_key` is its plain text, which cannot be shown again.

    Attributes:
        replaces: of a rotation, the old key as it is now.
    """

    api_key: str
    key: KeyView
    replaces: KeyView | None = None

    def __repr__(self) -> str:
        return f"NewKey(key={self.key!r})"  # the plain key never reaches a log or a traceback
