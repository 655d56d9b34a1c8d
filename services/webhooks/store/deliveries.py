"""Deliveries on their way: who takes them, and what became of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection


class Claimed(NamedTuple):
    """A delivery that one process has taken, with all that it needs.

    Attributes:
        tries: attempts of this round, without the one that comes now.
        claimed_until: until then no other process takes it; also what tells this claim from a later one.
        old_secret: signs as well; None where there is none, or its time is over.
        is_wanted: the endpoint is enabled, and its account is not suspended.
    """

    account_id: UUID
    endpoint_id: UUID
    message_id: UUID
    tries: int
    claimed_until: datetime
    url: str
    secret: bytes
    old_secret: bytes | None
    type: str
    body: bytes
    is_wanted: bool


class Attempt(NamedTuple):
    """What one attempt came to.

    Attributes:
        http_status: None where there was no answer.
        error: None where there was one.
        response: the beginning of the answer's body.
    """

    attempted_at: datetime
    duration_ms: int
    http_status: int | None
    error: str | None
    response: str | None


# It walks from endpoint to endpoint by the index, so that it costs by endpoints that wait and not by
# deliveries, and takes a few of each: one with a long queue does not stand before the others. Where nothing
# is due, as the first one by the index tells with whatever plan, it does not set out.
CLAIM_DELIVERIES: Final = """
WITH RECURSIVE waiting AS (
    (SELECT endpoint_id FROM webhooks.deliveries
      WHERE status = 'pending' AND endpoint_id > $2
        AND $1 >= (SELECT next_attempt_at FROM webhooks.deliveries
                    WHERE status = 'pending' AND (claimed_until IS NULL OR claimed_until <= $1)
                    ORDER BY next_attempt_at LIMIT 1)
      ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.endpoint_id FROM webhooks.deliveries d
             WHERE d.status = 'pending' AND d.endpoint_id > w.endpoint_id ORDER BY d.endpoint_id LIMIT 1)
      FROM waiting w WHERE w.endpoint_id IS NOT NULL
), due AS (
    SELECT found.account_id, found.endpoint_id, found.message_id
      FROM waiting w CROSS JOIN LATERAL (
        SELECT account_id, endpoint_id, message_id FROM webhooks.deliveries
         WHERE status = 'pending' AND endpoint_id = w.endpoint_id AND next_attempt_at <= $1
           AND (claimed_until IS NULL OR claimed_until <= $1)
         ORDER BY next_attempt_at LIMIT $5 FOR UPDATE SKIP LOCKED
      ) found
     WHERE w.endpoint_id <> ALL ($3::uuid[])
     LIMIT $4
)
UPDATE webhooks.deliveries d
   SET claimed_until = $6
  FROM due, webhooks.endpoints e, webhooks.messages m
 WHERE d.account_id = due.account_id AND d.endpoint_id = due.endpoint_id AND d.message_id = due.message_id
   AND e.account_id = d.account_id AND e.endpoint_id = d.endpoint_id AND m.message_id = d.message_id
RETURNING d.account_id, d.endpoint_id, d.message_id, d.tries, d.claimed_until, e.url, e.secret,
          CASE WHEN e.old_secret_until > $1 THEN e.old_secret END, m.type, m.body,
          e.status = 'enabled' AND NOT EXISTS (SELECT FROM webhooks.accounts a
                                                WHERE a.account_id = d.account_id AND a.suspended)
"""


async def claim_deliveries(
    connection: Connection,
    *,
    at: datetime,
    until: datetime,
    after: UUID,
    busy: Sequence[UUID],
    limit: int,
    limit_per_endpoint: int,
) -> list[Claimed]:
    """Take deliveries whose time has come.

    Args:
        connection: to the database.
        at: now.
        until: when they may be taken again, should this process die.
        after: the endpoint to begin after, in the order of ids.
        busy: endpoints to leave out.
        limit: the most in all.
        limit_per_endpoint: the most of one endpoint.
    """
    rows = await connection.fetch(CLAIM_DELIVERIES, at, after, list(busy), limit, limit_per_endpoint, until)
    return [Claimed(*row) for row in rows]


FIND_WAITING: Final = """
SELECT min(next_attempt_at) FROM webhooks.deliveries
 WHERE status = 'pending' AND (claimed_until IS NULL OR claimed_until <= $1)
"""


async def find_waiting_since(connection: Connection, at: datetime) -> datetime | None:
    """When the delivery was due that has been waiting longest, and that nobody has taken; None for none."""
    due: datetime | None = await connection.fetchval(FIND_WAITING, at)
    return due


# A claim that has run out may be somebody else's by now: then what this process knows counts no more.
FINISH_DELIVERY: Final = """
UPDATE webhooks.deliveries
   SET status = $5, next_attempt_at = $6, claimed_until = NULL, tries = tries + 1, attempts = attempts + 1
 WHERE account_id = $1 AND endpoint_id = $2 AND message_id = $3 AND claimed_until = $4 AND status = 'pending'
RETURNING attempts
"""
INSERT_ATTEMPT: Final = """
INSERT INTO webhooks.attempts
    (account_id, endpoint_id, message_id, attempt, attempted_at, duration_ms, http_status, error, response)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


async def finish_attempt(
    connection: Connection, claimed: Claimed, attempt: Attempt, status: str, next_attempt_at: datetime | None
) -> bool:
    """Write down an attempt, and when the next one is due. False: the claim is lost, or the endpoint gone."""
    place = (claimed.account_id, claimed.endpoint_id, claimed.message_id)
    number = await connection.fetchval(
        FINISH_DELIVERY, *place, claimed.claimed_until, status, next_attempt_at
    )
    if number is None:
        return False
    await connection.execute(INSERT_ATTEMPT, *place, number, *attempt)
    return True


GIVE_UP: Final = """
UPDATE webhooks.deliveries SET status = 'failed', next_attempt_at = NULL, claimed_until = NULL
 WHERE account_id = $1 AND endpoint_id = $2 AND message_id = $3 AND claimed_until = $4 AND status = 'pending'
"""


async def give_up(connection: Connection, claimed: Claimed) -> None:
    """Attempt a delivery no more, unless the claim is lost."""
    place = (claimed.account_id, claimed.endpoint_id, claimed.message_id)
    await connection.execute(GIVE_UP, *place, claimed.claimed_until)


FAIL_PENDING: Final = """
UPDATE webhooks.deliveries SET status = 'failed', next_attempt_at = NULL, claimed_until = NULL
 WHERE account_id = $1 AND endpoint_id = $2 AND status = 'pending'
"""


async def fail_pending(connection: Connection, account_id: UUID, endpoint_id: UUID) -> None:
    """Give up what is on its way to an endpoint."""
    await connection.execute(FAIL_PENDING, account_id, endpoint_id)


# One that is being delivered at this moment stays as it is: it is what is asked for.
DELIVER_AGAIN: Final = """
UPDATE webhooks.deliveries
   SET status = 'pending', next_attempt_at = $4, claimed_until = NULL, tries = 0
 WHERE account_id = $1 AND endpoint_id = $2 AND message_id = $3
   AND (claimed_until IS NULL OR claimed_until <= $4)
"""


async def deliver_again(
    connection: Connection, account_id: UUID, endpoint_id: UUID, message_id: UUID, at: datetime
) -> None:
    """Have a message delivered once more, from now on, with the whole schedule."""
    await connection.execute(DELIVER_AGAIN, account_id, endpoint_id, message_id, at)
