"""What the migrations promise."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import UnavailableError
from shared.postgres import MigrationError, Schema, list_pending, migrate, open_connection

FIRST = "CREATE TABLE ring.logs (n integer);"
SECOND = "ALTER TABLE ring.logs ADD COLUMN m integer; CREATE INDEX ON ring.logs (m);"


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    write(tmp_path, "0001_create_logs.sql", FIRST)
    write(tmp_path, "0002_add_m.sql", SECOND)
    (tmp_path / "README.md").write_text("not a migration")
    return Schema("ring", tmp_path)


def write(folder: Path, name: str, sql: str) -> None:
    (folder / name).write_text(sql)


async def fetch(url: str, query: str) -> object:
    connection = await open_connection(url, application_name="tests")
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_pending_files_are_applied_in_order_and_once(postgres_url: str, schema: Schema) -> None:
    assert await list_pending(postgres_url, [schema]) == ["ring/0001_create_logs.sql", "ring/0002_add_m.sql"]
    assert await migrate(postgres_url, [schema]) == ["ring/0001_create_logs.sql", "ring/0002_add_m.sql"]
    assert await list_pending(postgres_url, [schema]) == []
    assert await migrate(postgres_url, [schema]) == []
    assert await fetch(postgres_url, "SELECT count(*) FROM ring.schema_migrations") == 2


async def test_a_new_file_is_applied_on_top(postgres_url: str, schema: Schema, tmp_path: Path) -> None:
    await migrate(postgres_url, [schema])
    write(tmp_path, "0003_more.sql", "CREATE TABLE more (n integer);")
    assert await migrate(postgres_url, [schema]) == ["ring/0003_more.sql"]
    assert await fetch(postgres_url, "SELECT to_regclass('ring.more')::text") == "ring.more"


async def test_five_replicas_that_start_at_once_migrate_once(postgres_url: str, schema: Schema) -> None:
    done = await asyncio.gather(*(migrate(postgres_url, [schema]) for _ in range(5)))
    assert sorted(map(len, done)) == [0, 0, 0, 0, 2]


async def test_a_file_that_fails_leaves_nothing_of_itself(
    postgres_url: str, schema: Schema, tmp_path: Path
) -> None:
    write(tmp_path, "0003_half.sql", "CREATE TABLE ring.half (n integer); SELECT 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        await migrate(postgres_url, [schema])
    assert await fetch(postgres_url, "SELECT to_regclass('ring.half')") is None
    assert await list_pending(postgres_url, [schema]) == ["ring/0003_half.sql"]
    write(tmp_path, "0003_half.sql", "CREATE TABLE ring.half (n integer);")
    assert await migrate(postgres_url, [schema]) == ["ring/0003_half.sql"]


async def test_an_applied_file_that_was_changed_is_an_error(
    postgres_url: str, schema: Schema, tmp_path: Path
) -> None:
    await migrate(postgres_url, [schema])
    write(tmp_path, "0001_create_logs.sql", FIRST + " -- changed")
    write(tmp_path, "0003_more.sql", "CREATE TABLE ring.more (n integer);")
    with pytest.raises(MigrationError, match=r"ring/0001_create_logs\.sql: was changed"):
        await migrate(postgres_url, [schema])
    assert await fetch(postgres_url, "SELECT to_regclass('ring.more')") is None


async def test_line_ends_of_another_system_are_no_change(
    postgres_url: str, schema: Schema, tmp_path: Path
) -> None:
    write(tmp_path, "0003_lines.sql", "CREATE TABLE ring.lines\n(n integer);\n")
    await migrate(postgres_url, [schema])
    (tmp_path / "0003_lines.sql").write_bytes(b"CREATE TABLE ring.lines\r\n(n integer);\r\n")
    assert await migrate(postgres_url, [schema]) == []


async def test_old_code_runs_on_a_newer_schema(postgres_url: str, schema: Schema, tmp_path: Path) -> None:
    write(tmp_path, "0003_newer.sql", "CREATE TABLE ring.newer (n integer);")
    await migrate(postgres_url, [schema])
    (tmp_path / "0003_newer.sql").unlink()
    assert await migrate(postgres_url, [schema]) == []


@pytest.mark.parametrize("name", ["0004_gap.sql", "0002_double.sql", "3_short.sql", "0003-dash.sql"])
async def test_a_gap_a_double_or_a_bad_name_is_an_error(
    postgres_url: str, schema: Schema, tmp_path: Path, name: str
) -> None:
    write(tmp_path, name, "SELECT 1;")
    with pytest.raises(MigrationError):
        await migrate(postgres_url, [schema])
    assert await fetch(postgres_url, "SELECT to_regclass('ring.logs')") is None


async def test_several_schemas_keep_ledgers_of_their_own(postgres_url: str, tmp_path: Path) -> None:
    schemas = []
    for name in ("usage", "receipts"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "0001_start.sql", f"CREATE TABLE {name}.things (n integer);")
        schemas.append(Schema(name, tmp_path / name))
    assert await migrate(postgres_url, schemas) == ["usage/0001_start.sql", "receipts/0001_start.sql"]
    for schema in schemas:
        assert await fetch(postgres_url, f"SELECT count(*) FROM {schema.name}.schema_migrations") == 1


async def test_a_table_that_stays_locked_says_unavailable(
    postgres_url: str, schema: Schema, tmp_path: Path
) -> None:
    await migrate(postgres_url, [schema])
    write(tmp_path, "0003_alter.sql", "ALTER TABLE ring.logs ADD COLUMN k integer;")
    blocker = await open_connection(postgres_url, application_name="tests")
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE ring.logs")
        with pytest.raises(UnavailableError):
            await migrate(postgres_url, [schema], lock_timeout=timedelta(seconds=0.2))
    await blocker.close()
    assert await migrate(postgres_url, [schema]) == ["ring/0003_alter.sql"]
