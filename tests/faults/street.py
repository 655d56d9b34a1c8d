"""A database, topics and processes of their own, so that cases can run side by side on shared servers."""

import asyncio
import contextlib
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.all_in_one import SCHEMAS
from shared.contracts.topics import RECEIPTS_ISSUED, TOPICS, USAGE_DEAD, USAGE_LOGGED, USAGE_RATED
from shared.event_log.kafka.writer import partition_of
from shared.postgres import migrate
from shared.proofs.signing import SigningKey
from tests.faults.calls import Fault, Order
from tests.faults.child import Child, Stem
from tests.faults.script import Post, poster
from tests.faults.stem import PARTITIONS
from tests.servers.process import find_free_port

PROCESSES: Final = ("ingest", "rater", "issuer")
READ_TOPICS: Final = (USAGE_LOGGED, USAGE_RATED, USAGE_DEAD, RECEIPTS_ISSUED)

_READY_S: Final = 60.0
_READ_S: Final = 30.0
_POLL_S: Final = 0.03


@dataclass(frozen=True)
class Servers:
    """Where the shared servers are.

    Attributes:
        postgres: `host:port`.
        kafka: `host:port`.
        redis: a URL.
        registry: a URL.
        folder: for logs.
    """

    postgres: str
    kafka: str
    redis: str
    registry: str
    folder: Path


class Street:
    """Where one process is tested; the others run beside it and nothing ever goes wrong with them.

    Attributes:
        tested: the name of the process that is tested.
        database: a connection to its database.
    """

    def __init__(
        self,
        servers: Servers,
        tested: str,
        prefix: str,
        *,
        stem: Stem,
        database: Any,
        url: str,
        reader: Any,
        session: aiohttp.ClientSession,
    ) -> None:
        self._servers = servers
        self._prefix = prefix
        self._stem = stem
        self._url = url
        self._reader = reader
        self._session = session
        self._ports = {name: find_free_port() for name in (*PROCESSES, "tested")}
        self._beside: list[Child] = []
        self.tested = tested
        self.database = database

    async def start_beside(self) -> None:
        """Start the processes that are not tested: both consumers but the tested one, and an ingest."""
        names = [name for name in PROCESSES if name != self.tested or name == "ingest"]
        self._beside = list(
            await asyncio.gather(*(self._stem.fork(self._order(name, self._ports[name])) for name in names))
        )
        for child, name in zip(self._beside, names, strict=True):
            await self._wait_ready(child, self._ports[name])

    async def fork_tested(
        self, *, fault: Fault | None = None, counted: bool = False, bug: str | None = None, seed: str = ""
    ) -> Child:
        """Start the process that is tested."""
        order = self._order(self.tested, self._ports["tested"])
        order.fault, order.counted, order.bug = fault, counted, bug
        if seed:
            order.settings["receipts_signing_seed"] = seed
        return await self._stem.fork(order)

    async def wait_tested_ready(self, child: Child) -> bool:
        """Wait until the tested process is ready; False when it has ended instead."""
        return await self._wait_ready(child, self._ports["tested"])

    def post_to_tested(self) -> Post:
        """Sends requests to the ingest process that is tested."""
        return poster(self._session, f"http://127.0.0.1:{self._ports['tested']}")

    def post_beside(self) -> Post:
        """Sends requests to the ingest process that is not."""
        return poster(self._session, f"http://127.0.0.1:{self._ports['ingest']}")

    async def ends(self) -> dict[tuple[str, int], int]:
        """The next offset of each partition of the topics that are read."""
        found = await self._reader.end_offsets(self._partitions())
        return {(tp.topic.removeprefix(self._prefix), tp.partition): end for tp, end in found.items()}

    async def read_between(
        self, starts: dict[tuple[str, int], int], ends: dict[tuple[str, int], int]
    ) -> list[tuple[str, bytes]]:
        """All records between two ends: topic and value."""
        behind = {where: start for where, start in starts.items() if start < ends[where]}
        partitions = {where: TopicPartition(self._prefix + where[0], where[1]) for where in behind}
        self._reader.assign(list(partitions.values()))
        for where, tp in partitions.items():
            self._reader.seek(tp, starts[where])
        read: list[tuple[str, bytes]] = []
        async with asyncio.timeout(_READ_S):
            while behind:
                for tp, records in (await self._reader.getmany(timeout_ms=500)).items():
                    where = (tp.topic.removeprefix(self._prefix), tp.partition)
                    read += [(where[0], record.value) for record in records]
                    if records[-1].offset + 1 >= ends[where]:
                        behind.pop(where, None)
        self._reader.unsubscribe()  # or it would go on fetching
        return read

    def plain(self, topic: str) -> str:
        """The product's name of a topic."""
        return topic.removeprefix(self._prefix)

    @contextmanager
    def nothing_stored(self) -> Iterator[None]:
        """Freeze the rater beside, if there is one, so that what is accepted waits in the topic."""
        raters = [child for child in self._beside if child.order.process == "rater"]
        for child in raters:
            child.freeze()
        try:
            yield
        finally:
            for child in raters:
                child.thaw()

    def tell_beside(self) -> str:
        """What the other processes logged."""
        return "\n".join(f"--- {child.order.process}\n{child.tell(15)}" for child in self._beside)

    def are_others_alive(self) -> bool:
        """Whether all of the other processes still run."""
        return not any(child.ended.is_set() for child in self._beside)

    def _partitions(self) -> list[TopicPartition]:
        return [
            TopicPartition(self._prefix + topic, number)
            for topic in READ_TOPICS
            for number in range(min(TOPICS[topic], PARTITIONS))
        ]

    def _order(self, process: str, port: int) -> Order:
        return Order(
            process=process,
            group_suffix=f".{self._prefix}{secrets.token_hex(4)}",
            settings={
                "port": str(port),
                "database_url": self._url,
                "kafka_bootstrap": self._servers.kafka,
                "redis_url": self._servers.redis,
                "registry_url": self._servers.registry,
                "auth_url": "http://127.0.0.1:9",  # nobody is there, so nothing is ever too old to be kept
                "principal_public_keys": [_encode(SigningKey.from_seed(bytes(32)).public_key)],
                "receipts_signing_seed": _encode(bytes(31) + b"\1"),
                "log_format": "text",
                "data_dir": str(self._servers.folder / "data"),
            },
        )

    async def _wait_ready(self, child: Child, port: int) -> bool:
        async with asyncio.timeout(_READY_S):
            while not child.ended.is_set():
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with self._session.get(f"http://127.0.0.1:{port}/health/ready") as response:
                        if response.status == 200:
                            return True
                await asyncio.sleep(_POLL_S)
        return False


@asynccontextmanager
async def open_street(servers: Servers, tested: str) -> AsyncIterator[Street]:
    """Make everything that a street needs, and take it away again."""
    name = f"faults_{tested}_{secrets.token_hex(4)}"
    prefix = f"{name}."
    url = f"postgresql://postgres@{servers.postgres}/{name}"
    topics = {prefix + topic: min(count, PARTITIONS) for topic, count in TOPICS.items()}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_database(servers.postgres, name))
        await migrate(url, SCHEMAS)
        await stack.enter_async_context(_topics(servers.kafka, topics))
        stem = Stem(prefix, servers.folder)
        stack.callback(stem.close)
        database = await asyncpg.connect(url)
        stack.push_async_callback(database.close)
        reader = AIOKafkaConsumer(
            bootstrap_servers=servers.kafka,
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
            retry_backoff_ms=20,
        )
        stack.push_async_callback(reader.stop)
        await reader.start()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        street = Street(
            servers, tested, prefix, stem=stem, database=database, url=url, reader=reader, session=session
        )
        await street.start_beside()
        yield street


def new_accounts() -> tuple[UUID, UUID]:
    """Two accounts that nobody has seen, with their records in different partitions."""
    first = uuid4()
    while True:
        second = uuid4()
        if _partition(second) != _partition(first):
            return first, second


def new_seed_text() -> str:
    """A signing seed, as a setting."""
    return _encode(secrets.token_bytes(32))


def _partition(account_id: UUID) -> int:
    return partition_of(str(account_id).encode(), PARTITIONS)


def _encode(data: bytes) -> str:
    return b64encode(data).decode()


@asynccontextmanager
async def _database(address: str, name: str) -> AsyncIterator[None]:
    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(f"postgresql://postgres@{address}/postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    await execute(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield
    finally:
        await execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def _topics(bootstrap: str, topics: dict[str, int]) -> AsyncIterator[None]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(name, count, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
                for name, count in topics.items()
            ]
        )
        yield
        await admin.delete_topics(list(topics))
    finally:
        await admin.close()


def partitions_of(topic: str, ends: dict[tuple[str, int], int]) -> Collection[int]:
    """The partitions of a topic."""
    return [partition for name, partition in ends if name == topic]
