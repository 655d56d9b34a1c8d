"""A statement: what an account's receipts of a range add up to, signed, and tied to a checkpoint."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Final

from services.receipts.append import Draft
from services.receipts.once import Desk, OnRequest, name_receipt
from services.receipts.payload import Facts
from services.receipts.read import Period
from services.receipts.store.log import find_log
from services.receipts.store.totals import Total, count_receipts, find_last_sequence, list_totals
from shared.clock import rfc3339
from shared.contracts.keys import Principal
from shared.contracts.receipts import STATEMENT
from shared.errors import InvalidFieldError, UnavailableError
from shared.money import EXACT, ZERO, plain
from shared.postgres import Database, open_snapshot
from shared.proofs.signing import encode_base64
from shared.proofs.tlog.checkpoint import Checkpoint
from shared.proofs.tlog.note import parse_note

MAX_RECEIPTS: Final = 1_000_000
"""More receipts are not added up in one request."""

MAX_LINES: Final = 150
"""Lines of each breakdown, so that a statement can be verified like any receipt. The others share a line."""

_LONGEST: Final = timedelta(days=366)
_AT_ONCE: Final = 2
_PATIENCE_S: Final = 50


class Statements:
    """Issues `statement` receipts.

    Args:
        database: of the schema `receipts`.
        desk: issues them.
    """

    def __init__(self, database: Database, desk: Desk) -> None:
        self._database = database
        self._desk = desk
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def issue_statement(
        self, principal: Principal, period: Period, idempotency_key: str | None
    ) -> OnRequest:
        """Add up what the account's receipts say of usage in a range, and issue a receipt of it.

        Everything is read at one instant. `through_sequence` is the account's last receipt then: whoever
        holds all receipts up to it can add up the same.

        Args:
            principal: whose receipts.
            period: half-open.
            idempotency_key: the same key and range is one statement for ever.

        Raises:
            InvalidFieldError: the range is too long, or has too many receipts; or the key came before with
                another range.
            UnavailableError: a dependency is away, and nothing was issued.
        """
        if period.end_at - period.start_at > _LONGEST:
            raise InvalidFieldError.of("end_date", f"must be within {_LONGEST.days} days of start_date")
        try:
            async with self._turns, asyncio.timeout(_PATIENCE_S):
                facts = await self._add_up(principal, period)
        except TimeoutError:
            raise UnavailableError("Adding up the receipts takes too long at the moment.") from None
        asked = f"statement {rfc3339(period.start_at)} {rfc3339(period.end_at)}".encode()
        return await self._desk.issue(
            Draft(
                account_id=principal.account_id,
                kind=STATEMENT,
                log_id=None,
                occurred_at=period.start_at,
                facts=facts,
                receipt_id=name_receipt(principal.account_id, idempotency_key),
                request_sha256=None if idempotency_key is None else sha256(asked).digest(),
            )
        )

    async def _add_up(self, principal: Principal, period: Period) -> Facts:
        account_id = principal.account_id
        async with open_snapshot(self._database.url, application_name="llmring-statement") as connection:
            log = await find_log(connection)
            if log is None:
                raise UnavailableError("The receipts' log has not begun.")
            count = await count_receipts(connection, account_id, *period, MAX_RECEIPTS + 1)
            if count > MAX_RECEIPTS:
                raise InvalidFieldError.of("end_date", f"leaves more than {MAX_RECEIPTS} receipts")
            through = await find_last_sequence(connection, account_id)
            totals = await list_totals(connection, account_id, *period)
        checkpoint = Checkpoint.parse(parse_note(log.checkpoint).text)
        whole = next(total for total in totals if total.dimension == "all")
        return {
            "account_id": str(account_id),
            "api_key_id": str(principal.key_id),
            "by_model": _break_down(totals, "model"),
            "by_origin": _break_down(totals, "origin"),
            "checkpoint_root": encode_base64(checkpoint.root),
            "checkpoint_size": checkpoint.size,
            "currency": "USD",
            "end_at": rfc3339(period.end_at),
            "log_origin": checkpoint.origin,
            "start_at": rfc3339(period.start_at),
            "through_sequence": through,
            "total": _show(whole),
        }


def _break_down(totals: list[Total], dimension: str) -> list[Facts]:
    """The lines of a breakdown, the dearest first; what is beyond `MAX_LINES` shares the last one."""
    lines = [total for total in totals if total.dimension == dimension]
    shown = [{dimension: total.name, **_show(total)} for total in lines[:MAX_LINES]]
    rest = lines[MAX_LINES:]
    if rest:
        shown.append({"others": len(rest), **_show(_sum(rest))})
    return shown


def _sum(totals: list[Total]) -> Total:
    cost = ZERO
    for total in totals:
        cost = EXACT.add(cost, Decimal(total.cost))
    counts = [sum(column) for column in zip(*(_counts(total) for total in totals), strict=True)]
    return Total("others", None, counts[0], counts[1], plain(cost), *counts[2:])


def _counts(total: Total) -> tuple[int, ...]:
    return (
        total.requests,
        total.unpriced_requests,
        total.input_tokens,
        total.output_tokens,
        total.cached_input_tokens,
    )


def _show(total: Total) -> Facts:
    return {
        "cached_input_tokens": total.cached_input_tokens,
        "cost": plain(Decimal(total.cost)),
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "requests": total.requests,
        "unpriced_requests": total.unpriced_requests,
    }
