"""The table of idempotency keys."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection

_FETCHED_AT_ONCE: Final = 1000


class Claim(NamedTuple):
    """One key, and the event that it will stand for unless it is taken; empty where none is kept."""

    account_id: UUID
    log_id: UUID
    digest: bytes
    event: bytes
    claimed_at: datetime


class Settled(NamedTuple):
    """What a key stands for.

    Attributes:
        digest: of the body that it stands for.
        event: the event to answer with: that of the one who asks, or that of the one who came first. Empty
            where none is kept: then that of the one who asks.
        replayed: an earlier request had claimed the key.
        stored: its row is among the usage logs, or was until retention deleted it: no need to append it.
    """

    digest: bytes
    event: bytes
    replayed: bool
    stored: bool


# Sorted, so that two writers cannot wait for each other. As a rule no key was taken, and nothing is told.
INSERT_CLAIMS = """
WITH fresh AS (
    INSERT INTO usage.claims (account_id, log_id, body_digest, event, claimed_at)
    SELECT account_id, log_id, body_digest, event, claimed_at
    FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[], $5::timestamptz[])
         AS a(account_id, log_id, body_digest, event, claimed_at)
    ORDER BY account_id, log_id
    ON CONFLICT DO NOTHING
    RETURNING log_id
)
SELECT CASE WHEN (SELECT count(*) FROM fresh) < cardinality($2) THEN
    ARRAY(SELECT log_id FROM unnest($2) AS a(log_id) EXCEPT SELECT log_id FROM fresh)
END
"""

# In a statement of its own, since the snapshot of the insert does not show what others committed meanwhile.
LIST_TAKEN = """
SELECT c.log_id, c.body_digest, c.event, l.log_id IS NOT NULL OR c.row_deleted AS stored
FROM unnest($1::uuid[], $2::uuid[]) AS a(account_id, log_id)
JOIN usage.claims c USING (account_id, log_id)
LEFT JOIN usage.logs l USING (account_id, log_id)
"""


async def insert_claims(connection: Connection, claims: Sequence[Claim]) -> list[Settled]:
    """Claim keys that are free, and tell what each stands for. The log ids must differ from one another."""
    found: dict[UUID, Settled] = {}
    asked = claims
    while asked and (taken := await _claim(connection, asked)):
        columns = zip(*((claim.account_id, claim.log_id) for claim in taken), strict=True)
        for log_id, digest, event, stored in await connection.fetch(LIST_TAKEN, *map(list, columns)):
            found[log_id] = Settled(digest, event, replayed=True, stored=stored)
        asked = [claim for claim in taken if claim.log_id not in found]  # freed meanwhile
    if not found:
        return [_fresh(claim) for claim in claims]
    return [found.get(claim.log_id) or _fresh(claim) for claim in claims]


async def _claim(connection: Connection, claims: Sequence[Claim]) -> list[Claim]:
    """Claim keys that are free; gives those that are not."""
    columns = (list(column) for column in zip(*claims, strict=True))
    taken = await connection.fetchval(INSERT_CLAIMS, *columns)
    if not taken:
        return []
    ids = set(taken)
    return [claim for claim in claims if claim.log_id in ids]


def _fresh(claim: Claim) -> Settled:
    return Settled(claim.digest, claim.event, replayed=False, stored=False)


# Only the very event that is named: another one was claimed by somebody else meanwhile.
DELETE_CLAIMS = """
DELETE FROM usage.claims c
USING unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS r(account_id, log_id, event)
WHERE c.account_id = r.account_id AND c.log_id = r.log_id AND c.event = r.event
  AND NOT EXISTS (SELECT FROM usage.logs l WHERE l.account_id = c.account_id AND l.log_id = c.log_id)
"""


async def delete_claims(connection: Connection, claims: Sequence[Claim]) -> None:
    """Free keys again whose records were not accepted after all."""
    columns = [
        list(column) for column in zip(*((c.account_id, c.log_id, c.event) for c in claims), strict=True)
    ]
    await connection.execute(DELETE_CLAIMS, *columns)


# As a rule the claim says already what was recorded: then nothing is written or locked. Sorted as above.
FOLLOW_RECORDS = """
INSERT INTO usage.claims AS c (account_id, log_id, body_digest, event, claimed_at)
SELECT account_id, log_id, body_digest, event, claimed_at
FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[], $5::timestamptz[])
     AS r(account_id, log_id, body_digest, event, claimed_at)
WHERE NOT EXISTS (
    SELECT FROM usage.claims k
    WHERE k.account_id = r.account_id AND k.log_id = r.log_id
      AND k.body_digest = r.body_digest AND k.event = r.event
)
ORDER BY account_id, log_id
ON CONFLICT (account_id, log_id) DO UPDATE SET
    body_digest = excluded.body_digest, event = excluded.event, claimed_at = excluded.claimed_at
"""


async def follow_records(connection: Connection, recorded: Sequence[Claim]) -> None:
    """Let keys stand for what was recorded under them, whatever was claimed. The keys must differ."""
    if recorded:
        columns = [list(column) for column in zip(*recorded, strict=True)]
        await connection.execute(FOLLOW_RECORDS, *columns)


LIST_CLAIMS = """
SELECT c.account_id, c.log_id, c.body_digest, c.event
FROM unnest($1::uuid[], $2::uuid[]) AS a(account_id, log_id)
JOIN usage.claims c USING (account_id, log_id)
"""


async def list_claims(
    connection: Connection, keys: Collection[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], tuple[bytes, bytes]]:
    """Digest and event that keys stand for, by account and log id."""
    if not keys:
        return {}
    rows = await connection.fetch(LIST_CLAIMS, *(list(column) for column in zip(*keys, strict=True)))
    return {
        (UUID(int=row["account_id"].int), UUID(int=row["log_id"].int)): (row["body_digest"], row["event"])
        for row in rows
    }


LIST_NEWEST_CLAIMS = """
SELECT account_id, log_id, body_digest, event FROM usage.claims WHERE claimed_at >= $1
"""


async def list_newest_claims(
    connection: Connection, since: datetime
) -> AsyncIterator[list[tuple[UUID, UUID, bytes, bytes]]]:
    """Account, log id, digest and event of the claims since an instant, in parts, inside a transaction."""
    cursor = await connection.cursor(LIST_NEWEST_CLAIMS, since)
    while rows := await cursor.fetch(_FETCHED_AT_ONCE):
        yield [
            (UUID(int=row["account_id"].int), UUID(int=row["log_id"].int), row["body_digest"], row["event"])
            for row in rows
        ]
