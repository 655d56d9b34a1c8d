"""What there is in the schema at all."""

from shared.postgres import Connection

REFILLED_TABLES = (
    "logs",
    "rollups",
    "latency_rollups",
    "months",
    "retention",
    "positions",
    "budget_months",
)
"""What a refill from the topic writes. Idempotency keys, budgets and reservations are not among them: what is
left of those stands."""

FIND_CONTENTS = " UNION ALL ".join(
    f"SELECT '{table}' AS name WHERE EXISTS (SELECT FROM usage.{table})"  # noqa: S608 - fixed text alone
    for table in REFILLED_TABLES
)


async def list_tables_with_rows(connection: Connection) -> list[str]:
    """Which of the tables that a refill writes are not empty."""
    return [row["name"] for row in await connection.fetch(FIND_CONTENTS)]
