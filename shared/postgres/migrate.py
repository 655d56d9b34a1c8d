"""Forward-only migrations from plain SQL files, with a checksum for each and one runner at a time."""

import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple

from shared.postgres.connect import open_connection
from shared.postgres.connection import Connection, OwnedConnection
from shared.postgres.failures import translated

RUNNER_LOCK: Final = 0x6C6C6D72_6D696772
"""The advisory lock that the runner holds, so that five replicas that start at once migrate once."""

_PART_S: Final = 5.0
_FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_SCHEMA_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class MigrationError(Exception):
    """The files and the database contradict each other; nothing of the file at fault was applied."""


@dataclass(frozen=True)
class Schema:
    """A database schema and the folder of its migrations, `0001_what_it_does.sql` and so on without a gap."""

    name: str
    folder: Traversable | Path


class _Migration(NamedTuple):
    version: int
    name: str
    sql: str
    sha256: str


async def migrate(
    url: str, schemas: Sequence[Schema], *, lock_timeout: timedelta = timedelta(seconds=10)
) -> list[str]:
    """Apply what is pending, each file in a transaction of its own with its entry in the ledger.

    Safe to run from several processes at once and again after a crash. Files that the database knows and
    this code does not (a newer release ran first) are left alone: old code runs on a newer schema.

    Args:
        url: the database, reached with a user that may create schemas.
        schemas: in the order in which they are to be migrated.
        lock_timeout: how long a file may wait for a table. Everybody else waits behind it, so it rather gives
            up and comes again.

    Returns:
        The files applied now, as `schema/0001_name.sql`.

    Raises:
        MigrationError: an applied file was changed since, or the numbering has a gap or a double.
        UnavailableError: the database is away, or a table stayed locked for too long.
    """
    connection = await open_connection(url, application_name="llmring-migrate")
    try:
        with translated():
            await connection.execute("SELECT pg_advisory_lock($1)", RUNNER_LOCK)
            done: list[str] = []
            for schema in schemas:
                await _create_ledger(connection, schema.name)
                for migration in await _list_pending(connection, schema):
                    await _apply(connection, schema.name, migration, lock_timeout)
                    done.append(f"{schema.name}/{migration.name}")
            return done
    finally:
        await _part(connection)


async def list_pending(url: str, schemas: Sequence[Schema]) -> list[str]:
    """What `migrate` would apply now, as `schema/0001_name.sql`; changes nothing.

    Raises:
        MigrationError: as `migrate`.
        UnavailableError: the database is away.
    """
    connection = await open_connection(url, application_name="llmring-migrate")
    try:
        with translated():
            return [
                f"{schema.name}/{migration.name}"
                for schema in schemas
                for migration in await _list_pending(connection, schema)
            ]
    finally:
        await _part(connection)


async def _part(connection: OwnedConnection) -> None:
    """Close, whether the server takes part or not: what was to be done is done, or has failed."""
    with contextlib.suppress(OSError):  # TimeoutError is one of these
        await connection.close(timeout=_PART_S)


def _read(schema: Schema) -> list[_Migration]:
    """The folder's files in order, checked: a gap or a double would be a file that some database lacks."""
    if not _SCHEMA_NAME.fullmatch(schema.name):
        raise MigrationError(f"{schema.name!r} cannot be the name of a schema")
    found: list[_Migration] = []
    for entry in sorted(schema.folder.iterdir(), key=lambda each: each.name):
        if not entry.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(entry.name)
        if match is None:
            raise MigrationError(f"{schema.name}/{entry.name}: must be named like 0001_what_it_does.sql")
        sql = entry.read_text(encoding="utf-8")
        found.append(_Migration(int(match[1]), entry.name, sql, hashlib.sha256(sql.encode()).hexdigest()))
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            raise MigrationError(f"{schema.name}/{migration.name}: number {expected:04d} was expected here")
    return found


async def _create_ledger(connection: Connection, schema: str) -> None:
    await connection.execute(
        f"""
        CREATE SCHEMA IF NOT EXISTS {schema};
        CREATE TABLE IF NOT EXISTS {schema}.schema_migrations (
            version integer PRIMARY KEY,
            name text NOT NULL,
            sha256 text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )"""
    )


async def _list_pending(connection: Connection, schema: Schema) -> list[_Migration]:
    migrations = _read(schema)
    ledger = f"{schema.name}.schema_migrations"
    if await connection.fetchval("SELECT to_regclass($1)", ledger) is None:
        return migrations
    rows = await connection.fetch(f"SELECT version, name, sha256 FROM {ledger} ORDER BY version")  # noqa: S608 - the name was matched
    applied = {row["version"]: row for row in rows}
    for migration in migrations:
        row = applied.get(migration.version)
        if row is not None and row["sha256"] != migration.sha256:
            raise MigrationError(
                f"{schema.name}/{migration.name}: was changed after it was applied (as {row['name']}); "
                "write a new file instead"
            )
    return [migration for migration in migrations if migration.version not in applied]


async def _apply(connection: Connection, schema: str, migration: _Migration, lock_timeout: timedelta) -> None:
    async with connection.transaction():
        limit_ms = int(lock_timeout.total_seconds() * 1000)
        await connection.execute(f"SET LOCAL lock_timeout = {limit_ms}")
        await connection.execute(f"SET LOCAL search_path = {schema}, pg_catalog")
        await connection.execute(migration.sql)
        await connection.execute(
            f"INSERT INTO {schema}.schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",  # noqa: S608 - the name was matched
            migration.version,
            migration.name,
            migration.sha256,
        )
