"""What an upgrade makes of keys that were there before unproven ones were told apart."""

import shutil
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from services.auth.service import SCHEMA
from shared.ids import uuid7
from shared.postgres import Database, Schema, migrate, open_database
from tests.auth.conftest import T0

HOUR = timedelta(hours=1)


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    """None: these tests begin with older ones."""
    return ()


async def insert(database: Database, email: str, *, verified: bool, joined: bool) -> UUID:
    """An account of `T0` that was verified an hour later, with a key from before and one from after that."""
    account_id = uuid7()
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO auth.accounts "
            "(account_id, email, email_key, tier, role, created_at, email_verified_at) "
            "VALUES ($1, $2, $2, 'free', 'customer', $3, $4)",
            account_id,
            email,
            T0,
            T0 + HOUR if verified else None,
        )
        for number, created_at in enumerate((T0, T0 + 2 * HOUR)):
            await connection.execute(
                "INSERT INTO auth.api_keys (account_id, key_id, key_sha256, prefix, scopes, created_at) "
                "VALUES ($1, $2, sha256(convert_to($3, 'UTF8')), 'llmr_pk_00000000', '{admin}', $4)",
                account_id,
                uuid7(),
                f"{email}{number}",
                created_at,
            )
        if joined:
            await connection.execute(
                "INSERT INTO auth.identities (provider, subject, account_id, linked_at) "
                "VALUES ('google', $1, $2, $3)",
                email,
                account_id,
                T0 + HOUR,
            )
    return account_id


async def test_keys_from_before_an_address_was_shown_by_a_reset_are_unproven(
    postgres_url: str, tmp_path: Path
) -> None:
    for file in SCHEMA.folder.iterdir():
        if file.name.endswith(".sql") and file.name < "0007":
            shutil.copy(str(file), tmp_path / file.name)
    await migrate(postgres_url, [Schema("auth", tmp_path)])
    database = await open_database(postgres_url, application_name="test-unproven")
    by_reset = await insert(database, "reset@example.test", verified=True, joined=False)
    by_provider = await insert(database, "joined@example.test", verified=True, joined=True)
    never = await insert(database, "never@example.test", verified=False, joined=False)
    await migrate(postgres_url, [SCHEMA])
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT account_id, array_agg(unproven ORDER BY created_at) FROM auth.api_keys GROUP BY 1"
        )
    await database.close()
    found = {row["account_id"]: list(row["array_agg"]) for row in rows}
    assert found == {by_reset: [True, False], by_provider: [False, False], never: [False, False]}
