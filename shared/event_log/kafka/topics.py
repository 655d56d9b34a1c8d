"""Creating topics, and asking how many partitions they have."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from shared.contracts.topics import RETENTION
from shared.errors import NotFoundError, UnavailableError
from shared.event_log.kafka.asking import Asker
from shared.event_log.kafka.clients import translated
from shared.event_log.port import TopicState

logger = logging.getLogger(__name__)

SETTINGS: Final = {
    "message.timestamp.type": "LogAppendTime",  # so that `StoredRecord.appended_at` is the broker's word
}

REPLICAS: Final = 3
"""How many copies a topic gets when nothing is said, if there are so many brokers."""

_CREATE_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.1
_new_topic: Final[Any] = NewTopic  # the library carries no annotations
_config_of: Final[Any] = ConfigResource  # likewise
_FOR_EVER: Final = -1
_FIRST_CONFIG: Final = 4  # place of the list in a resource's answer: error, message, type and name come first


class Topics:
    """What topics there are; their numbers of partitions are remembered, since they never change."""

    def __init__(self, admin: Asker, replication_factor: int | None) -> None:
        self._admin = admin
        self._replication_factor = replication_factor
        self._partitions: dict[str, int] = {}

    def find_partitions(self, name: str) -> int | None:
        """How many partitions the topic has, if this process has met it before."""
        return self._partitions.get(name)

    async def get_partitions(self, name: str) -> int:
        """How many partitions the topic has.

        Raises:
            NotFoundError: there is no such topic.
            UnavailableError: no broker answers.
        """
        if name not in self._partitions:
            (described,) = await self._admin.ask(lambda admin: admin.describe_topics([name]))
            error = for_code(described["error_code"])
            if error is UnknownTopicOrPartitionError:
                raise NotFoundError(f"There is no topic {name}.")
            with translated():
                if described["error_code"] != 0:
                    raise error(name)
            self._partitions[name] = len(described["partitions"])
        return self._partitions[name]

    async def describe(self, name: str) -> TopicState:
        """How a topic is kept; asked anew each time.

        Raises:
            NotFoundError: there is no such topic.
            UnavailableError: no broker answers.
        """
        await self.get_partitions(name)
        asked = [_config_of(ConfigResourceType.TOPIC, name)]
        (described,) = await self._admin.ask(lambda admin: admin.describe_topics([name]))
        (answer,) = await self._admin.ask(lambda admin: admin.describe_configs(asked))
        (resource,) = answer.resources
        settings = {each[0]: each[1] for each in resource[_FIRST_CONFIG]}
        partitions = described["partitions"]
        retention_ms = int(settings.get("retention.ms") or _FOR_EVER)
        return TopicState(
            partitions=len(partitions),
            copies=min(len(each["replicas"]) for each in partitions),
            in_sync=min(len(each["isr"]) for each in partitions),
            must_be_in_sync=int(settings.get("min.insync.replicas") or 1),
            retention=None if retention_ms < 0 else timedelta(milliseconds=retention_ms),
        )

    async def ensure(self, topics: Mapping[str, int]) -> None:
        """Create the topics that are missing, and wait until every partition has a leader.

        Raises:
            UnavailableError: no broker answers, or the partitions get no leaders.
        """
        with translated():
            replicas = self._replication_factor or min(REPLICAS, await self._count_brokers())
            # Of three copies one may be away; an acknowledgement still stands on two.
            settings = SETTINGS | ({"min.insync.replicas": "2"} if replicas >= REPLICAS else {})
            wanted = [
                _new_topic(name, partitions, replicas, topic_configs=settings | _retention_of(name))
                for name, partitions in topics.items()
            ]
            answer = await self._admin.ask(lambda admin: admin.create_topics(wanted), _CREATE_SECONDS)
            for name, code, message in answer.topic_errors:
                error = for_code(code)
                if code != 0 and error is not TopicAlreadyExistsError:
                    raise error(f"topic {name} could not be created: {message}")
            found = await self._settled(topics)
        for name, partitions in topics.items():
            if found[name] != partitions:
                logger.warning(
                    "topic %s keeps its %d partitions; %d were asked for", name, found[name], partitions
                )
        self._partitions.update(found)

    async def _count_brokers(self) -> int:
        return len((await self._admin.ask(lambda admin: admin.describe_cluster()))["brokers"])

    async def _settled(self, topics: Mapping[str, int]) -> dict[str, int]:
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                while True:
                    described = await self._admin.ask(lambda admin: admin.describe_topics(list(topics)))
                    if all(map(_has_leaders, described)):
                        return {topic["topic"]: len(topic["partitions"]) for topic in described}
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise UnavailableError("Kafka's partitions have no leaders.") from error


def _retention_of(name: str) -> dict[str, str]:
    """The setting of a new topic; for a topic that is none of ours, the broker's own default."""
    if name not in RETENTION:
        return {}
    retention = RETENTION[name]
    ms = _FOR_EVER if retention is None else int(retention.total_seconds() * 1000)
    return {"retention.ms": str(ms)}


def _has_leaders(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return (
        topic["error_code"] == 0
        and len(partitions) > 0
        and all(each["error_code"] == 0 and each["leader"] >= 0 for each in partitions)
    )
