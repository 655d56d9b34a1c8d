"""What travels over auth's public HTTP paths: msgspec Structs and nothing else.

Unknown fields of a request are ignored (wire contract, "Everywhere").
"""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from services.auth.store.accounts import Account, Role
from services.auth.tiers import LimitName, Tier, TierName, effective_limits

MAX_PAGE: Final = 500

Text = Annotated[str, msgspec.Meta(max_length=255)]
RequestsPerMinute = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
LogsPerMonth = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)]
RetentionDays = Annotated[int, msgspec.Meta(ge=0, le=36_500)]


class RegisterRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/register`. The password has 10 characters to 1,024 bytes in UTF-8, in NFC."""

    email: str
    password: str
    organization: Text | None = None

    def __repr__(self) -> str:
        return f"RegisterRequest(email={self.email!r})"  # the password never reaches a log or a traceback


class LoginRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/login`."""

    email: str
    password: str

    def __repr__(self) -> str:
        return f"LoginRequest(email={self.email!r})"  # the password never reaches a log or a traceback


class AccountWithKey(msgspec.Struct, frozen=True, kw_only=True):
    """An account, and its new key: it cannot be shown again."""

    api_key: str
    account_id: UUID
    email: str
    organization: str | None
    tier: Tier

    @classmethod
    def of(cls, account: Account, api_key: str) -> "AccountWithKey":
        """The answer for an account and the plain text of its new key."""
        return cls(
            api_key=api_key,
            account_id=account.account_id,
            email=account.email,
            organization=account.organization,
            tier=Tier(name=account.tier, **effective_limits(account.tier, account.own_limits)),
        )


class CliRegisterRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/cli/register`, as `llmring register` sends it. `project_name` names the key."""

    email: str
    organization: Text | None = None
    project_name: Text | None = None
    accept_terms: bool = False


class CliRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """The key of the new account, which has no password yet; the key cannot be shown again."""

    api_key: str
    dashboard_url: str
    api_key_active: bool = True


class ResetRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/password-reset`."""

    email: str


class ResetAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The same for every address, whether it has an account or not."""

    detail: str


class ResetConfirmRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/password-reset/confirm`: the token is what stands behind `#` in the link."""

    token: str
    new_password: str

    def __repr__(self) -> str:
        return "ResetConfirmRequest()"  # neither ever reaches a log or a traceback


class PasswordChanged(msgspec.Struct, frozen=True, kw_only=True):
    """What setting the password ended, and what it left."""

    detail: str
    sessions_ended: int
    api_keys_still_valid: int


class KeyStatusView(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with an account's keys; prefix and times are of the newest live one.

    Attributes:
        retrievable_until: until when a first key waits for this session; null when none does.
    """

    active: bool
    live_keys: int
    prefix: str | None
    created_at: datetime | None
    last_used_at: datetime | None
    retrievable_until: datetime | None


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /api/v1/auth/me`: the account of the session.

    Attributes:
        email_verified: whether somebody has shown that they read mail to the address.
        session_expires_at: the end of the session however much it is used.
    """

    account_id: UUID
    email: str
    email_verified: bool
    organization: str | None
    tier: Tier
    has_password: bool
    created_at: datetime
    session_expires_at: datetime
    api_key: KeyStatusView


class RegeneratedKey(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /api/v1/auth/regenerate-api-key`: the key cannot be shown again.

    Attributes:
        revoked_keys: how many keys it replaces.
    """

    api_key: str
    key_id: UUID
    revoked_keys: int


class LoginProviders(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /api/v1/auth/login`."""

    providers: list[str]


class RetrievedKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """`/api/v1/auth/retrieve-api-key`: the account's first key; it cannot be shown again."""

    api_key: str
    key_id: UUID


class AccountChange(msgspec.Struct, kw_only=True):
    """`PATCH /api/v1/admin/accounts/{id}`: what is absent stays as it is.

    A tier puts the account on that tier's limits and drops its own ones, except those in the same request.
    A limit of null is no limit.
    """

    tier: TierName | UnsetType = UNSET
    requests_per_minute: RequestsPerMinute | UnsetType | None = UNSET
    logs_per_month: LogsPerMonth | UnsetType | None = UNSET
    retention_days: RetentionDays | UnsetType | None = UNSET
    suspended: bool | UnsetType = UNSET


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as an operator sees it.

    Attributes:
        requests_per_minute: in force now, by the account's own limit or by its tier; null is no limit.
        logs_per_month: likewise.
        retention_days: likewise.
        own_limits: which of the three are the account's own.
    """

    account_id: UUID
    email: str
    organization: str | None
    role: Role
    tier: TierName
    requests_per_minute: int | None
    logs_per_month: int | None
    retention_days: int | None
    own_limits: list[LimitName]
    suspended: bool
    suspended_at: datetime | None
    created_at: datetime


class AccountPage(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts, newest first; `next` is the `cursor` of the following page, or null on the last one."""

    accounts: list[AccountView]
    next: UUID | None
