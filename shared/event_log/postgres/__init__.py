"""The event log in Postgres: durable at the acknowledgement, without any other server."""

from importlib.resources import files
from typing import Final

from shared.event_log.postgres.log import PostgresEventLog, open_postgres_event_log
from shared.event_log.postgres.membership import forget_members
from shared.postgres import Schema

SCHEMA: Final = Schema("event_log", files("shared.event_log") / "migrations")

__all__ = ["SCHEMA", "PostgresEventLog", "forget_members", "open_postgres_event_log"]
