"""The gapless number of each account's receipts."""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from shared.postgres import Connection

INSERT_SEQUENCES: Final = """
INSERT INTO receipts.sequences (account_id, last_sequence)
SELECT account_id, 0 FROM unnest($1::uuid[]) AS asked (account_id) ORDER BY account_id
ON CONFLICT (account_id) DO NOTHING
"""

LOCK_SEQUENCES: Final = """
SELECT account_id, last_sequence FROM receipts.sequences
WHERE account_id = ANY($1::uuid[]) ORDER BY account_id FOR UPDATE
"""


async def lock_sequences(connection: Connection, account_ids: Collection[UUID]) -> dict[UUID, int]:
    """The last number given to each account; nobody else numbers their receipts until the transaction ends.

    Both steps go in the order of the ids, so that two writers never wait for each other.
    """
    ids = list(account_ids)
    await connection.execute(INSERT_SEQUENCES, ids)
    return {row[0]: row[1] for row in await connection.fetch(LOCK_SEQUENCES, ids)}


UPDATE_SEQUENCES: Final = """
UPDATE receipts.sequences s SET last_sequence = given.last_sequence
FROM unnest($1::uuid[], $2::bigint[]) AS given (account_id, last_sequence)
WHERE s.account_id = given.account_id
"""


async def update_sequences(connection: Connection, last_sequences: Mapping[UUID, int]) -> None:
    """Store the last number given to each account. Their rows must be locked."""
    await connection.execute(UPDATE_SEQUENCES, list(last_sequences), list(last_sequences.values()))
