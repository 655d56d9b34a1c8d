"""Creating topics, and asking how many partitions they have."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from shared.errors import NotFoundError, UnavailableError
from shared.event_log.kafka.clients import Admin, translated

logger = logging.getLogger(__name__)

SETTINGS: Final = {
    "message.timestamp.type": "LogAppendTime",  # so that `StoredRecord.appended_at` is the broker's word
}

REPLICAS: Final = 3
"""How many copies a topic gets when nothing is said, if there are so many brokers."""

_SETTLE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.1
_new_topic: Final[Any] = NewTopic  # the library carries no annotations


class Topics:
    """What topics there are; their numbers of partitions are remembered, since they never change."""

    def __init__(self, admin: Admin, replication_factor: int | None) -> None:
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
            with translated():
                (described,) = await self._admin.describe_topics([name])
            error = for_code(described["error_code"])
            if error is UnknownTopicOrPartitionError:
                raise NotFoundError(f"There is no topic {name}.")
            with translated():
                if described["error_code"] != 0:
                    raise error(name)
            self._partitions[name] = len(described["partitions"])
        return self._partitions[name]

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
                _new_topic(name, partitions, replicas, topic_configs=settings)
                for name, partitions in topics.items()
            ]
            answer = await self._admin.create_topics(wanted)
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
        return len((await self._admin.describe_cluster())["brokers"])

    async def _settled(self, topics: Mapping[str, int]) -> dict[str, int]:
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                while True:
                    described = await self._admin.describe_topics(list(topics))
                    if all(map(_has_leaders, described)):
                        return {topic["topic"]: len(topic["partitions"]) for topic in described}
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise UnavailableError("Kafka's partitions have no leaders.") from error


def _has_leaders(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return (
        topic["error_code"] == 0
        and len(partitions) > 0
        and all(each["error_code"] == 0 and each["leader"] >= 0 for each in partitions)
    )
