"""Who was suspended before that was told is told of by an upgrade."""

import shutil
from pathlib import Path

import msgspec
import pytest

from services.auth.service import SCHEMA
from shared.contracts.keys import KeysChanged
from shared.contracts.topics import KEYS_CHANGED
from shared.ids import uuid7
from shared.postgres import Schema, migrate, open_database
from tests.auth.conftest import T0


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    """None: the test begins with older ones."""
    return ()


async def test_an_upgrade_tells_once_who_is_suspended(postgres_url: str, tmp_path: Path) -> None:
    for file in SCHEMA.folder.iterdir():
        if file.name.endswith(".sql") and file.name < "0010":
            shutil.copy(str(file), tmp_path / file.name)
    await migrate(postgres_url, [Schema("auth", tmp_path)])
    database = await open_database(postgres_url, application_name="test-suspended")
    ids = [uuid7() for _ in range(2)]
    async with database.connection() as connection:
        for account_id, at in zip(ids, (T0, None), strict=True):
            await connection.execute(
                "INSERT INTO auth.accounts "
                "(account_id, email, email_key, tier, role, created_at, suspended_at) "
                "VALUES ($1, $2, $2, 'free', 'customer', $3, $4)",
                account_id,
                f"{account_id}@example.test",
                T0,
                at,
            )
    await migrate(postgres_url, [SCHEMA])
    async with database.connection() as connection:
        [row] = await connection.fetch("SELECT topic, event_key, value FROM auth.outbox")
    await database.close()
    assert (row["topic"], row["event_key"]) == (KEYS_CHANGED, ids[0].bytes)
    told = msgspec.json.decode(row["value"], type=KeysChanged)
    assert told == KeysChanged(account_id=ids[0], changed_at=T0, suspended=True)
