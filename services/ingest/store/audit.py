"""Reading the rows as a whole, in the order of their keys."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

from services.ingest.figures import FIGURE_COLUMNS, digest_figures
from shared.money import plain
from shared.postgres import Connection

_FETCHED_AT_ONCE = 2_000
_RECEIVED_AT = FIGURE_COLUMNS.index("received_at")


class StoredFigures(NamedTuple):
    """What a check compares of a row.

    Attributes:
        key: account id and log id, 16 bytes each: the order in which they come.
        cost: in plain notation.
        figures: the digest of what else is counted; see `services.ingest.figures`.
        received_at: when it was accepted.
        is_repriced: its cost was found later.
    """

    key: bytes
    cost: str | None
    figures: bytes
    received_at: datetime
    is_repriced: bool


LIST_FIGURES = f"""
SELECT account_id, log_id, repriced_at IS NOT NULL, cost, {", ".join(FIGURE_COLUMNS)}
  FROM usage.logs
 ORDER BY account_id, log_id
"""  # noqa: S608 - fixed text alone


async def list_figures(connection: Connection) -> AsyncIterator[list[StoredFigures]]:
    """Every row, some at a time, inside a transaction."""
    cursor = await connection.cursor(LIST_FIGURES)
    while rows := await cursor.fetch(_FETCHED_AT_ONCE):
        batch: list[StoredFigures] = []
        for account_id, log_id, is_repriced, cost, *figures in rows:
            batch.append(
                StoredFigures(
                    account_id.bytes + log_id.bytes,
                    None if cost is None else plain(cost),
                    digest_figures(figures),
                    figures[_RECEIVED_AT],
                    is_repriced,
                )
            )
        yield batch


SUM_REQUESTS = "SELECT coalesce(sum(requests), 0)::bigint FROM usage.rollups WHERE grain = 'd'"


async def sum_requests(connection: Connection) -> int:
    """How many records the rollups have counted, by their days."""
    count: int = await connection.fetchval(SUM_REQUESTS)
    return count
