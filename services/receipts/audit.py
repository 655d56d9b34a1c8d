"""What this service can tell of its own state, for a check: which record has which receipt, and the numbers.

Nothing is changed and nobody is held up. Topics are read by offsets, tables in one snapshot.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from services.receipts.issue import GROUP
from services.receipts.log_audit import LogCheck, LogFault
from services.receipts.store.audit import RecordedRow, WrongSequence, list_recorded, list_wrong_sequences
from shared.contracts.topics import USAGE_RATED
from shared.event_log.port import EventLog
from shared.event_log.positions import list_positions
from shared.postgres import Connection, open_snapshot

_NO_LOG: Final = UUID(int=0)


class Receipted(NamedTuple):
    """One receipt for a usage record.

    Attributes:
        key: account id and log id, 16 bytes each.
        receipt_id: its name.
        cost: as it is signed, in plain notation.
        revision: 0, or 1 for the receipt of a cost that was found later.
        supersedes: the receipt that it replaces by its own word.
        is_its_own: what is signed names the same account, record, receipt and number as the row.
    """

    key: bytes
    receipt_id: UUID
    cost: str | None
    revision: int
    supersedes: str | None
    is_its_own: bool


class _Signed(msgspec.Struct):
    account_id: str
    log_id: str | None
    receipt_id: str
    account_sequence: int
    cost: str | None
    supersedes: str | None = None


class _Named(msgspec.Struct):
    account_id: UUID
    log_id: UUID


_signed_decoder = msgspec.json.Decoder(_Signed)
_named_decoder = msgspec.json.Decoder(_Named)


def find_key(value: bytes | None) -> bytes | None:
    """Account id and log id of a record of `usage.rated`, as far as they can be read at all."""
    try:
        named = _named_decoder.decode(value or b"")
    except (ValueError, RecursionError):
        return None
    return named.account_id.bytes + named.log_id.bytes


async def read_rated(
    event_log: EventLog, starts: Mapping[int, int], ends: Mapping[int, int]
) -> AsyncIterator[list[bytes]]:
    """The keys of the records in some ranges of `usage.rated`, a slice at a time.

    Raises:
        UnavailableError: the event log is away.
    """
    async with event_log.read_range(USAGE_RATED, starts, ends) as slices:
        async for part in slices:
            yield [key for record in part.records if (key := find_key(record.value)) is not None]


class ReceiptsSnapshot:
    """The receipts at one instant; made by `open_receipts_snapshot`.

    Attributes:
        positions: of the issuers: every record before has its receipt, or was set aside.
    """

    def __init__(self, connection: Connection, positions: Mapping[int, int]) -> None:
        self._connection = connection
        self.positions = positions

    async def list_receipted(self) -> AsyncIterator[list[Receipted]]:
        """Every receipt for a usage record, in the order of the keys, some at a time."""
        async for rows in list_recorded(self._connection):
            yield [_compare(row) for row in rows]

    def list_wrong_sequences(self) -> AsyncIterator[WrongSequence]:
        """Every account whose receipts, declared ones included, have a gap or a double in their numbers."""
        return list_wrong_sequences(self._connection)

    def check_log(self) -> AsyncIterator[LogFault]:
        """Whatever in the Merkle log is not what the receipts make, and receipts with a wrong signature."""
        return LogCheck(self._connection).check()


def _compare(row: RecordedRow) -> Receipted:
    key = row.account_id.bytes + (row.log_id or _NO_LOG).bytes
    try:
        signed = _signed_decoder.decode(row.payload)
    except (ValueError, RecursionError):
        return Receipted(key, row.receipt_id, None, row.revision, None, is_its_own=False)
    is_its_own = (signed.account_id, signed.log_id, signed.receipt_id, signed.account_sequence) == (
        str(row.account_id),
        str(row.log_id),
        str(row.receipt_id),
        row.account_sequence,
    )
    return Receipted(key, row.receipt_id, signed.cost, row.revision, signed.supersedes, is_its_own)


@asynccontextmanager
async def open_receipts_snapshot(url: str) -> AsyncIterator[ReceiptsSnapshot]:
    """The receipts as they are now, for as long as the block runs; use it from one task at a time.

    Raises:
        UnavailableError: the database is away.
    """
    async with open_snapshot(url, application_name="llmring-audit-receipts") as connection:
        yield ReceiptsSnapshot(connection, await list_positions(connection, "receipts", GROUP, USAGE_RATED))
