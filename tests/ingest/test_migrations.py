"""Sums that an earlier release kept are added to by this one."""

import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from services.ingest.rollup import RollupKey, Sums
from services.ingest.service import SCHEMA
from services.ingest.store.rollups import add_latencies, add_sums
from shared.postgres import Schema, migrate, open_database

AT = datetime(2031, 5, 3, tzinfo=UTC)
KEY = RollupKey(UUID(int=1), "d", AT, "openai", "openai:m", "web", "")

INSERT_AS_BEFORE = """
INSERT INTO usage.rollups (account_id, grain, bucket_at, provider, model_group, origin, alias, requests,
    unpriced_requests, cost, input_tokens, output_tokens, cached_input_tokens, timed_requests, latency_ms)
VALUES ($1, 'd', $2, 'openai', 'openai:m', 'web', '', 2, 0, 0.5, 1, 1, 0, 1, 7);
"""
INSERT_COUNT_AS_BEFORE = """
INSERT INTO usage.latency_rollups (account_id, grain, bucket_at, provider, model_group, origin, alias,
    latency_bucket, requests)
VALUES ($1, 'd', $2, 'openai', 'openai:m', 'web', '', 7, 1);
"""


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    """None: these tests begin with older ones."""
    return ()


async def test_the_keys_of_the_rollups_change_and_their_rows_stay(postgres_url: str, tmp_path: Path) -> None:
    shutil.copy(Path(str(SCHEMA.folder)) / "0001_usage.sql", tmp_path)
    await migrate(postgres_url, [Schema(SCHEMA.name, tmp_path)])
    database = await open_database(postgres_url, application_name="test")
    try:
        async with database.connection() as connection:
            for statement in (INSERT_AS_BEFORE, INSERT_COUNT_AS_BEFORE):
                await connection.execute(statement, KEY.account_id, AT)
        await migrate(postgres_url, [SCHEMA])
        one = Sums()
        one.requests, one.cost = 1, Decimal("0.25")
        async with database.transaction() as connection:
            await add_sums(connection, [(KEY, one)])
            await add_latencies(connection, [(KEY, 7, 1)])
        async with database.connection() as connection:
            sums = await connection.fetch("SELECT requests, cost FROM usage.rollups")
            counts = await connection.fetch("SELECT requests FROM usage.latency_rollups")
    finally:
        await database.close()
    assert [tuple(row) for row in sums] == [(3, Decimal("0.75"))]
    assert [tuple(row) for row in counts] == [(2,)]
