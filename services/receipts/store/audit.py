"""Reading the receipts as a whole, in the order of the records that they are for."""

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection

_FETCHED_AT_ONCE: Final = 2_000


class RecordedRow(NamedTuple):
    """What a check compares of a receipt for a usage record."""

    account_id: UUID
    log_id: UUID | None
    receipt_id: UUID
    account_sequence: int
    payload: bytes
    revision: int


LIST_RECORDED: Final = """
SELECT account_id, log_id, receipt_id, account_sequence, payload, revision
FROM receipts.receipts WHERE log_id IS NOT NULL ORDER BY account_id, log_id, revision
"""


async def list_recorded(connection: Connection) -> AsyncIterator[list[RecordedRow]]:
    """Every receipt for a usage record, some at a time, inside a transaction."""
    cursor: Any = await connection.cursor(LIST_RECORDED)
    while rows := await cursor.fetch(_FETCHED_AT_ONCE):
        yield [RecordedRow(*row.values()) for row in rows]


class WrongSequence(NamedTuple):
    """An account whose receipts are not numbered 1, 2, 3 and so on up to its counter.

    Attributes:
        receipts: how many there are.
        numbers: how many different numbers they have.
        first: the smallest number; None without receipts.
        last: the largest number.
        counter: the last number that was given out; None without a counter.
    """

    account_id: UUID
    receipts: int
    numbers: int
    first: int | None
    last: int | None
    counter: int | None


LIST_WRONG_SEQUENCES: Final = """
SELECT account_id, coalesce(receipts, 0), coalesce(numbers, 0), first, last, last_sequence
FROM (
    SELECT account_id, count(*) AS receipts, count(DISTINCT account_sequence) AS numbers,
           min(account_sequence) AS first, max(account_sequence) AS last
    FROM receipts.receipts GROUP BY account_id
) AS numbered
FULL JOIN receipts.sequences USING (account_id)
WHERE (receipts, numbers, first, last)
      IS DISTINCT FROM (last_sequence, last_sequence, 1::bigint, last_sequence)
  AND (receipts IS NOT NULL OR last_sequence <> 0)
"""


async def list_wrong_sequences(connection: Connection) -> AsyncIterator[WrongSequence]:
    """Accounts whose receipts have a gap or a double in their numbers, inside a transaction."""
    cursor: Any = await connection.cursor(LIST_WRONG_SEQUENCES)
    while rows := await cursor.fetch(_FETCHED_AT_ONCE):
        for row in rows:
            yield WrongSequence(*row.values())


class LeafFound(NamedTuple):
    """A leaf beside the receipt that it should be; either may be missing.

    Attributes:
        leaf_index: None where a receipt is no leaf.
        payload: None where a leaf is of no receipt.
    """

    leaf_index: int | None
    leaf_hash: bytes | None
    account_id: UUID
    receipt_id: UUID
    payload: bytes | None
    signature: bytes | None
    key_id: str | None


LIST_LEAVES: Final = """
SELECT leaf_index, leaf_hash, account_id, receipt_id, payload, signature, key_id
FROM receipts.leaves FULL JOIN receipts.receipts USING (account_id, receipt_id)
ORDER BY leaf_index NULLS LAST
"""


async def list_leaves(connection: Connection) -> AsyncIterator[list[LeafFound]]:
    """Every leaf in the order of the log, then what is in no log, some at a time, inside a transaction."""
    cursor: Any = await connection.cursor(LIST_LEAVES)
    while rows := await cursor.fetch(_FETCHED_AT_ONCE):
        yield [LeafFound(*row.values()) for row in rows]
