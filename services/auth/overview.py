"""What an account sees of itself: its limits, and what it has used of the month, which ingest knows."""

import asyncio
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.auth.store.accounts import Role, get_account
from services.auth.tiers import LimitName, TierName, describe_limits
from shared.contracts.keys import Principal
from shared.contracts.statistics import MonthUsage
from shared.errors import UnavailableError
from shared.postgres import Database
from shared.web.client import Upstream
from shared.web.principal import PRINCIPAL_HEADER

_ANSWER_WITHIN_S: Final = 5.0
_decoder = msgspec.json.Decoder(MonthUsage)


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    """The present calendar month, UTC.

    Attributes:
        month: `YYYY-MM`.
        used: records that arrived in it.
        remaining: how many more may; null is any number.
        resets_at: when the next month begins.
    """

    month: str
    used: int
    remaining: int | None
    resets_at: datetime


class AccountOverview(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it sees itself; a limit of null is no limit.

    Attributes:
        requests_per_minute: of each key.
        logs_per_month: records in a calendar month, UTC.
        retention_days: how long single records are kept; sums and receipts are kept for ever.
        own_limits: which of the three are the account's own, and not its tier's.
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
    created_at: datetime
    quota: QuotaView


class Overviews:
    """Shows accounts to themselves.

    Args:
        database: of auth.
        ingest: knows what was used; None where it cannot be asked.
    """

    def __init__(self, database: Database, ingest: Upstream | None) -> None:
        self._database = database
        self._ingest = ingest

    async def show(self, principal: Principal, token: bytes) -> AccountOverview:
        """The account of a caller.

        Args:
            principal: who calls.
            token: by which the gateway vouches for that: ingest is asked on the caller's behalf.

        Raises:
            NotFoundError: there is no such account.
            UnavailableError: the database or ingest is away.
        """
        async with self._database.connection() as connection:
            account = await get_account(connection, principal.account_id)
        used = await self._ask(token)
        limits = describe_limits(account.tier, account.own_limits)
        limit = limits["logs_per_month"]
        return AccountOverview(
            account_id=account.account_id,
            email=account.email,
            organization=account.organization,
            role=account.role,
            tier=account.tier,
            **limits,
            created_at=account.created_at,
            quota=QuotaView(
                month=used.month,
                used=used.records,
                remaining=None if limit is None else max(0, limit - used.records),
                resets_at=used.resets_at,
            ),
        )

    async def _ask(self, token: bytes) -> MonthUsage:
        if self._ingest is None:
            raise UnavailableError("The service that counts records cannot be asked.")
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                answer = await self._ingest.call(
                    "GET", "/internal/month", headers=[(PRINCIPAL_HEADER, token)]
                )
            return _decoder.decode(answer.body)
        except (TimeoutError, msgspec.MsgspecError):
            raise UnavailableError("The service that counts records does not answer.") from None
