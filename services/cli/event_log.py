"""The event log that the settings name, the schemas that a deployment has with it, and what it forgets."""

from datetime import timedelta

from services.cli.settings import ProcessSettings
from shared.event_log.port import EventLog
from shared.event_log.postgres import SCHEMA, open_postgres_event_log
from shared.postgres import Database, Schema
from shared.runtime.service import Worker


async def open_event_log(settings: ProcessSettings, url: str) -> EventLog:
    """Connect to Kafka if there is one, else to the event log in the database at `url`.

    Raises:
        UnavailableError: it is away.
    """
    if settings.kafka_bootstrap:
        from shared.event_log.kafka import open_kafka_event_log

        return await open_kafka_event_log(
            settings.kafka_bootstrap, replication_factor=settings.kafka_replication_factor
        )
    return await open_postgres_event_log(url)


def list_schemas(settings: ProcessSettings) -> list[Schema]:
    """Every schema that the database must have: that of the event log only where it is not in Kafka."""
    from services.all_in_one import SCHEMAS

    return list(SCHEMAS) if settings.kafka_bootstrap else [SCHEMA, *SCHEMAS]


def build_trimmers(settings: ProcessSettings, database: Database) -> list[Worker]:
    """The loop that deletes old records from the event log in `database`; none where it is in Kafka."""
    if settings.kafka_bootstrap:
        return []
    from services.trimming import build_trimmer

    accepted = settings.event_log_accepted_retention_days
    return [
        build_trimmer(
            database,
            passed_on=timedelta(days=settings.event_log_retention_days),
            accepted=None if accepted is None else timedelta(days=accepted),
        )
    ]
