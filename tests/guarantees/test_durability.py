"""What stands behind an acknowledgement, as the servers themselves say it."""

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.contracts.topics import TOPICS
from shared.event_log.kafka import Brokers, open_kafka_event_log
from shared.postgres import open_connection
from tests.live.process import ServerProcess

NEVER = "9223372036854775807"


async def test_the_embedded_postgres_has_a_record_on_disk_before_it_is_acknowledged(
    server: ServerProcess,
) -> None:
    socket = (server.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[4]
    connection = await open_connection(
        f"postgresql://postgres@/llmring?host={socket}", application_name="tests"
    )
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await connection.fetchval(f"SHOW {setting}") == "on", setting
    finally:
        await connection.close()


@pytest.mark.kafka
async def test_kafka_acknowledges_from_memory_and_writes_to_disk_when_it_likes(kafka_bootstrap: str) -> None:
    log = await open_kafka_event_log(Brokers(kafka_bootstrap))
    try:
        await log.ensure_topics(TOPICS)
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in TOPICS]
        for answer in await log._admin.ask(lambda admin: admin.describe_configs(resources)):
            for resource in answer.resources:
                settings = {entry[0]: entry[1] for entry in resource[4]}
                assert (settings["flush.messages"], settings["flush.ms"]) == (NEVER, NEVER)
    finally:
        await log.close()
