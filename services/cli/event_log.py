"""The event log that the settings name, the schemas that a deployment has with it, and what it forgets."""

from datetime import timedelta

import click

from services.cli.settings import ProcessSettings
from shared.event_log.port import EventLog
from shared.event_log.postgres import SCHEMA, open_postgres_event_log
from shared.postgres import Database, Schema
from shared.runtime.service import Worker


async def open_event_log(settings: ProcessSettings, url: str) -> EventLog:
    """Connect to Kafka if there is one, else to the event log in the database at `url`.

    Raises:
        UnavailableError: it is away.
        click.ClickException: a file that is needed to speak to Kafka cannot be used.
    """
    if settings.kafka_bootstrap:
        return await _open_kafka(settings, settings.kafka_bootstrap)
    return await open_postgres_event_log(url)


async def _open_kafka(settings: ProcessSettings, bootstrap: str) -> EventLog:
    from shared.event_log.kafka import Brokers, Login, build_tls, open_kafka_event_log

    tls = login = None
    if settings.kafka_security_protocol.endswith("SSL"):
        own = (settings.kafka_certificate_file, settings.kafka_key_file)
        try:
            tls = build_tls(settings.kafka_ca_file, *own)
        except OSError as error:
            raise click.ClickException(
                "LLMRING_KAFKA_CA_FILE, LLMRING_KAFKA_CERTIFICATE_FILE, LLMRING_KAFKA_KEY_FILE: "
                f"cannot be used: {error}"
            ) from error
    if settings.kafka_security_protocol.startswith("SASL_"):
        login = Login(settings.kafka_sasl_mechanism, settings.kafka_username, settings.kafka_password)
    brokers = Brokers(bootstrap, tls, login)
    return await open_kafka_event_log(brokers, replication_factor=settings.kafka_replication_factor)


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
