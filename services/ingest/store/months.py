"""The table of how many records arrived, by account and month."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Final
from uuid import UUID

from services.ingest.month import month_of
from shared.contracts.usage import UsageLogged
from shared.postgres import Connection

ADD_RECORDS: Final = """
INSERT INTO usage.months AS m (account_id, month, records)
SELECT * FROM unnest($1::uuid[], $2::date[], $3::bigint[])
ON CONFLICT (account_id, month) DO UPDATE SET records = m.records + excluded.records
"""


async def add_to_months(connection: Connection, events: Iterable[UsageLogged]) -> None:
    """Count records that are new, each in the month in which it arrived."""
    counts = Counter((event.account_id, month_of(event.received_at)) for event in events)
    if counts:
        # In the order of the key, as every writer has them, so that two of them cannot wait for each other.
        rows = sorted(((account, month, n) for (account, month), n in counts.items()), key=_place)
        await connection.execute(ADD_RECORDS, *map(list, zip(*rows, strict=True)))


def _place(row: tuple[UUID, date, int]) -> tuple[int, date]:
    return row[0].int, row[1]


FIND_RECORDS: Final = "SELECT records FROM usage.months WHERE account_id = $1 AND month = $2"


async def count_month(connection: Connection, account_id: UUID, month: date) -> int:
    """How many records of an account that arrived in a month are stored, or were."""
    return int(await connection.fetchval(FIND_RECORDS, account_id, month) or 0)
