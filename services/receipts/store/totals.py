"""Adding up an account's receipts over a range."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection

COUNT_RECEIPTS: Final = """
SELECT count(*) FROM (
    SELECT FROM receipts.receipts
    WHERE account_id = $1 AND occurred_at >= $2 AND occurred_at < $3 LIMIT $4
) AS counted
"""


async def count_receipts(
    connection: Connection, account_id: UUID, start_at: datetime, end_at: datetime, up_to: int
) -> int:
    """How many receipts of the account lie in a half-open range; no more than `up_to` are counted."""
    count: int = await connection.fetchval(COUNT_RECEIPTS, account_id, start_at, end_at, up_to)
    return count


FIND_LAST_SEQUENCE: Final = "SELECT last_sequence FROM receipts.sequences WHERE account_id = $1"


async def find_last_sequence(connection: Connection, account_id: UUID) -> int:
    """The number of the account's last receipt; 0 where it has none."""
    return await connection.fetchval(FIND_LAST_SEQUENCE, account_id) or 0


class Total(NamedTuple):
    """What some receipts add up to.

    Attributes:
        dimension: `all`, `model` or `origin`: what the receipts have in common.
        name: the common model or origin; None for all of them, and for those without an origin.
        cost: in dollars, exact, in plain notation.
    """

    dimension: str
    name: str | None
    requests: int
    unpriced_requests: int
    cost: str
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int


# Only the newest receipt of each record counts: an older one was superseded. The model is what statistics
# count a record under: the registry key, else the names as they were sent.
LIST_TOTALS: Final = """
WITH holding AS (
    SELECT DISTINCT ON (log_id) convert_from(payload, 'UTF8')::jsonb AS facts
    FROM receipts.receipts
    WHERE account_id = $1 AND occurred_at >= $2 AND occurred_at < $3 AND log_id IS NOT NULL
    ORDER BY log_id, revision DESC
), used AS (
    SELECT coalesce(
               facts->>'model_key', lower((facts->>'provider') COLLATE "C") || ':' || (facts->>'model')
           ) AS model,
           facts->>'origin' AS origin,
           (facts->>'cost')::numeric AS cost,
           (facts->>'input_tokens')::numeric AS input_tokens,
           (facts->>'output_tokens')::numeric AS output_tokens,
           (facts->>'cached_input_tokens')::numeric AS cached_input_tokens
    FROM holding
)
SELECT CASE WHEN grouping(model) = 0 THEN 'model' WHEN grouping(origin) = 0 THEN 'origin' ELSE 'all' END,
       CASE WHEN grouping(model) = 0 THEN model WHEN grouping(origin) = 0 THEN origin END,
       count(*), count(*) FILTER (WHERE cost IS NULL), coalesce(trim_scale(sum(cost)), 0)::text,
       coalesce(sum(input_tokens), 0)::bigint, coalesce(sum(output_tokens), 0)::bigint,
       coalesce(sum(cached_input_tokens), 0)::bigint
FROM used
GROUP BY GROUPING SETS ((), (model), (origin))
ORDER BY 1, coalesce(sum(cost), 0) DESC, coalesce(model, origin) COLLATE "C"
"""


async def list_totals(
    connection: Connection, account_id: UUID, start_at: datetime, end_at: datetime
) -> list[Total]:
    """What the account's recorded usage in a half-open range adds up to: all, by model, by origin."""
    rows = await connection.fetch(LIST_TOTALS, account_id, start_at, end_at)
    return [Total(*row.values()) for row in rows]
