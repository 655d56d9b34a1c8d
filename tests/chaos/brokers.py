"""Three brokers whose clients reach them over links, and what an operator would ask and tell them."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import aiokafka.admin
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest_v0

from shared.contracts.topics import TOPICS
from tests.chaos.kafka_wire import Asking, DescribeQuorumRequest, ElectLeadersRequest
from tests.chaos.link import Link
from tests.servers.kafka.cluster import KafkaCluster
from tests.servers.process import find_free_port

_ASK_S = 5.0
_METADATA_TOPIC = "__cluster_metadata"
_Consumer: Any = AIOKafkaConsumer  # the library carries no annotations
_Partition: Any = TopicPartition
_connect: Any = create_conn


class Brokers:
    """A cluster of three. Clients use `bootstrap`; brokers among themselves, and we, go around the links."""

    def __init__(self, folder: Path) -> None:
        self._cluster = KafkaCluster(folder)
        self.servers = self._cluster.brokers
        self.links = {number: Link([server.address]) for number, server in self.servers.items()}
        self._direct = {number: f"127.0.0.1:{find_free_port()}" for number in self.servers}
        for number, server in self.servers.items():
            server.settings = server.settings | {
                "listeners": ",".join(
                    (
                        f"PLAINTEXT://{server.address}",
                        f"DIRECT://{self._direct[number]}",
                        f"CONTROLLER://{server.controller}",
                    )
                ),
                "advertised.listeners": f"PLAINTEXT://{self.links[number].address},DIRECT://{self._direct[number]}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "DIRECT",
                # A replica that hangs leaves the set of those in sync after this.
                "replica.lag.time.max.ms": "5000",
                "num.replica.fetchers": "1",
                "group.coordinator.threads": "1",
                "background.threads": "2",
            }
        self._reader: Any = None

    @property
    def bootstrap(self) -> str:
        """All links, as the product is given them."""
        return ",".join(link.address for link in self.links.values())

    async def start(self) -> None:
        """Start all three."""
        await asyncio.to_thread(self._cluster.start)
        for link in self.links.values():
            await link.open()

    async def read_ends(self, topics: Collection[str]) -> dict[tuple[str, int], int]:
        """The next offset of each partition.

        Raises:
            KafkaError, OSError: a leader does not answer now.
        """
        wanted = [_Partition(topic, number) for topic in topics for number in range(TOPICS[topic])]
        async with asyncio.timeout(_ASK_S):
            if self._reader is None:
                reader = _Consumer(
                    bootstrap_servers=",".join(self._direct.values()),
                    request_timeout_ms=2000,
                    retry_backoff_ms=50,
                    metadata_max_age_ms=2000,
                )
                try:
                    await reader.start()
                except BaseException:
                    await reader.stop()
                    raise
                self._reader = reader
            found = await self._reader.end_offsets(wanted)
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def count_under_replicated(self) -> int:
        """How many partitions are without a leader or without one of their three copies in sync."""
        async with self._admin() as admin:
            described = await admin.describe_topics([*TOPICS, "__consumer_offsets"])
        return sum(
            partition["leader"] < 0 or len(partition["isr"]) < len(partition["replicas"])
            for topic in described
            for partition in topic["partitions"]
        )

    async def find_controller(self) -> int:
        """The number of the broker that leads the controllers."""
        answer = await self._ask(DescribeQuorumRequest([(_METADATA_TOPIC, [(0, {})], {})], {}))
        return int(answer.topics[0][1][0][2])

    async def move_leaders(self, chance: random.Random) -> None:
        """Give every partition another order of its replicas, and make the first one the leader."""
        orders: dict[str, list[tuple[int, list[int], dict[int, bytes]]]] = {
            topic: [(n, chance.sample(sorted(self.servers), 3), {}) for n in range(count)]
            for topic, count in TOPICS.items()
        }
        await self._ask(
            AlterPartitionReassignmentsRequest_v0(
                5000, [(topic, parts, {}) for topic, parts in orders.items()], {}
            )
        )
        await asyncio.sleep(0.5)
        await self.elect_leaders()

    async def elect_leaders(self) -> None:
        """Make the first replica of each partition its leader again."""
        everything = [(topic, list(range(count))) for topic, count in TOPICS.items()]
        await self._ask(ElectLeadersRequest(0, everything, 5000))

    async def close(self) -> None:
        """Let go of connections; the servers are destroyed with the cluster's folder."""
        if self._reader is not None:
            with contextlib.suppress(KafkaError, OSError):
                async with asyncio.timeout(_ASK_S):
                    await self._reader.stop()
        for link in self.links.values():
            await link.close()

    async def destroy(self) -> None:
        """Stop the servers and forget their data."""
        await asyncio.to_thread(self._cluster.destroy)

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        library: Any = aiokafka.admin
        admin = library.AIOKafkaAdminClient(
            bootstrap_servers=",".join(self._direct.values()), request_timeout_ms=3000
        )
        async with asyncio.timeout(_ASK_S):
            try:
                await admin.start()
                yield admin
            finally:
                await admin.close()

    async def _ask(self, request: Any) -> Any:
        """Send one request to the first broker that answers."""
        failure: Exception | None = None
        for address in self._direct.values():
            host, _, port = address.rpartition(":")
            try:
                async with asyncio.timeout(_ASK_S):
                    connection = await _connect(host, int(port), request_timeout_ms=5000)
                    try:
                        return await connection.send(Asking(request))
                    finally:
                        connection.close()
            except (KafkaError, OSError) as error:
                failure = error
        assert failure is not None
        raise failure
