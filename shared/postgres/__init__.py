"""The door to Postgres: a pool, the only place that commits, and forward-only migrations.

asyncpg is named in this package alone; the rest of the code takes a `Connection`.
"""

from shared.postgres.connect import open_connection
from shared.postgres.connection import Connection, OwnedConnection, Row
from shared.postgres.database import Database, open_database
from shared.postgres.failures import translated
from shared.postgres.later import DatabaseToCome
from shared.postgres.migrate import MigrationError, Schema, list_pending, migrate
from shared.postgres.snapshot import open_snapshot

__all__ = [
    "Connection",
    "Database",
    "DatabaseToCome",
    "MigrationError",
    "OwnedConnection",
    "Row",
    "Schema",
    "list_pending",
    "migrate",
    "open_connection",
    "open_database",
    "open_snapshot",
    "translated",
]
