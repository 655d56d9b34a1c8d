"""Reading an account's own receipts."""

import asyncio
import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from services.receipts.store.receipts import (
    Place,
    ReceiptRow,
    find_receipt,
    list_receipts,
    list_recorded,
    list_superseded,
)
from shared.clock import parse_rfc3339
from shared.contracts.receipts import Receipt, ReceiptPage
from shared.errors import InvalidFieldError, NotFoundError
from shared.postgres import Connection, Database
from shared.proofs.receipt import SignedPayload, build_receipt

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_FIRST_WAIT_S: Final = 0.01
_LONGEST_WAIT_S: Final = 0.2


class Period(NamedTuple):
    """Half-open: `start_at <= occurred_at < end_at`."""

    start_at: datetime
    end_at: datetime


class Reading:
    """Finds receipts of one account; those of others do not exist for it.

    Args:
        database: of the schema `receipts`.
        issue_wait: how long to wait for a receipt that the issuer may be about to write.
    """

    def __init__(self, database: Database, issue_wait: timedelta) -> None:
        self._database = database
        self._issue_wait = issue_wait

    async def get_receipt(self, account_id: UUID, receipt_id: str) -> tuple[Receipt, UUID | None]:
        """One receipt by its id, and the id of the one that has replaced it, if any has.

        Raises:
            NotFoundError: the account has none of that id; also where it is no UUID at all.
        """
        async with self._database.connection() as connection:
            row = await find_own_receipt(connection, account_id, receipt_id)
            superseded = await list_superseded(connection, account_id, [row.receipt_id])
        return as_receipt(row), superseded.get(row.receipt_id)

    async def get_row(self, account_id: UUID, receipt_id: str) -> ReceiptRow:
        """One receipt by its id, as it is stored.

        Raises:
            NotFoundError: the account has none of that id.
        """
        async with self._database.connection() as connection:
            return await find_own_receipt(connection, account_id, receipt_id)

    async def await_recorded(self, account_id: UUID, log_id: UUID) -> ReceiptRow:
        """The receipt of a usage record that holds now, once the issuer has written one.

        Raises:
            NotFoundError: the account has no such record, or no receipt of it within the wait.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._issue_wait.total_seconds()
        wait_s = _FIRST_WAIT_S
        while True:
            async with self._database.connection() as connection:
                rows = await list_recorded(connection, account_id, log_id)
            if rows:
                return rows[0]
            if loop.time() + wait_s > until:
                raise NotFoundError("There is no receipt of such a record.")
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def list_receipts(
        self, account_id: UUID, *, log_id: UUID | None, period: Period, cursor: str | None, limit: int
    ) -> ReceiptPage:
        """A page of receipts, newest usage first.

        Args:
            account_id: whose receipts.
            log_id: only the receipts of this record, the one that holds first.
            period: only receipts of usage that occurred in it.
            cursor: `next` of the page before.
            limit: the most receipts on the page.

        Raises:
            InvalidFieldError: the cursor is not one of ours.
        """
        # No number is 0, so this is before everything that occurred at the end itself.
        before = Place(period.end_at, 0)
        if cursor is not None:
            before = min(before, _read_cursor(cursor))
        async with self._database.connection() as connection:
            if log_id is not None:
                rows = [
                    row
                    for row in await list_recorded(connection, account_id, log_id)
                    if row.occurred_at >= period.start_at
                    and Place(row.occurred_at, row.account_sequence) < before
                ]
            else:
                rows = await list_receipts(
                    connection, account_id, start_at=period.start_at, before=before, limit=limit + 1
                )
            more = len(rows) > limit
            page = rows[:limit]
            superseded = await list_superseded(connection, account_id, [row.receipt_id for row in page])
        return ReceiptPage(
            receipts=[as_receipt(row) for row in page],
            next=_write_cursor(page[-1]) if more else None,
            superseded_by={str(old): str(new) for old, new in superseded.items()},
        )


async def find_own_receipt(connection: Connection, account_id: UUID, receipt_id: str) -> ReceiptRow:
    """One receipt of an account by its id.

    Raises:
        NotFoundError: the account has none of that id; also where it is no UUID at all.
    """
    row = await find_receipt(connection, account_id, parse_receipt_id(receipt_id))
    if row is None:
        raise no_such_receipt()
    return row


def parse_receipt_id(receipt_id: str) -> UUID:
    """The id of a receipt as it stands in a path.

    Raises:
        NotFoundError: it is no UUID in the usual spelling, so no receipt has it.
    """
    try:
        named = UUID(receipt_id)
    except ValueError:
        raise no_such_receipt() from None
    if str(named) != receipt_id.lower():
        raise no_such_receipt()
    return named


def no_such_receipt() -> NotFoundError:
    """The same for a receipt of another account as for one that never was."""
    return NotFoundError("There is no such receipt.")


def as_receipt(row: ReceiptRow) -> Receipt:
    """The receipt around the stored bytes."""
    return build_receipt(str(row.receipt_id), row.key_id, SignedPayload(row.payload, row.signature))


def parse_period(start_date: str | None, end_date: str | None) -> Period:
    """Read the two ends: days (`YYYY-MM-DD`, UTC) or RFC 3339 instants. An end that is a day counts whole.

    Raises:
        InvalidFieldError: not a day or instant, or the start is after the end.
    """
    start_at = _BEGINNING if start_date is None else _instant("start_date", start_date, is_end=False)
    end_at = _END if end_date is None else _instant("end_date", end_date, is_end=True)
    if start_at >= end_at:
        raise InvalidFieldError.of("start_date", "must not be after end_date")
    return Period(start_at, end_at)


def _instant(field: str, text: str, *, is_end: bool) -> datetime:
    try:
        if _DAY.fullmatch(text):
            at = datetime.fromisoformat(text).replace(tzinfo=UTC)
            return at + timedelta(days=1) if is_end else at
        return parse_rfc3339(text)
    except OverflowError:
        return _END
    except ValueError:
        raise InvalidFieldError.of(field, "must be a day, YYYY-MM-DD, or an RFC 3339 time") from None


def _write_cursor(row: ReceiptRow) -> str:
    place = [(row.occurred_at - _EPOCH) // timedelta(microseconds=1), row.account_sequence]
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _read_cursor(cursor: str) -> Place:
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        micros, sequence = msgspec.json.decode(text, type=tuple[int, int])
        if not 0 < sequence < 2**63:
            raise ValueError(sequence)  # noqa: TRY301 - answered as any other cursor that is not ours
        return Place(_EPOCH + timedelta(microseconds=micros), sequence)
    except (ValueError, OverflowError, binascii.Error):
        raise InvalidFieldError.of("cursor", "must be the 'next' of an earlier page") from None
