"""Opening a log of either kind."""

from datetime import timedelta

from shared.event_log import EventLog
from shared.event_log.kafka import Brokers, open_kafka_event_log
from shared.event_log.postgres import SCHEMA, open_postgres_event_log
from shared.postgres import migrate
from tests.servers.server import Server


def log_address(kind: str, server: Server) -> str:
    """What `open_log_at` takes, for a server of the test's own."""
    return f"postgresql://postgres@{server.address}/postgres" if kind == "postgres" else server.address


async def prepare_log(kind: str, address: str) -> None:
    """Migrate, where there is something to migrate."""
    if kind == "postgres":
        await migrate(address, [SCHEMA])


async def open_log_at(
    kind: str, address: str, *, append_timeout: timedelta = timedelta(seconds=4)
) -> EventLog:
    """Open a log of that kind."""
    if kind == "postgres":
        return await open_postgres_event_log(address, append_timeout=append_timeout)
    return await open_kafka_event_log(Brokers(address), append_timeout=append_timeout)
