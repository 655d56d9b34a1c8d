"""What auth tells other services about accounts."""

from typing import Annotated
from uuid import UUID

import msgspec

from shared.contracts.usage import Instant

RETENTION_PATH = "/internal/accounts/retention"
MAX_ACCOUNTS_ASKED = 500


class RetentionQuestion(msgspec.Struct, frozen=True):
    """For how long are the records of these accounts kept? Who asks has records of them."""

    account_ids: Annotated[list[UUID], msgspec.Meta(max_length=MAX_ACCOUNTS_ASKED)]


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True):
    """How long single records of an account are kept.

    Attributes:
        days: None is for ever.
        shortened_at: when the time became shorter last; None where it never did.
    """

    account_id: UUID
    days: int | None
    shortened_at: Instant | None


class RetentionAnswer(msgspec.Struct, frozen=True):
    """The rules of those accounts that exist."""

    rules: list[RetentionRule]
