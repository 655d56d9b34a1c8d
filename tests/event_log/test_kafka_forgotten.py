"""Connections that the network has forgotten, without a word to either end."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shared.errors import UnavailableError
from shared.event_log.kafka import Brokers, KafkaEventLog, open_kafka_event_log
from tests.chaos.link import Link
from tests.conftest import leave_out
from tests.event_log.results import numbered
from tests.servers.kafka.broker import KafkaProcess
from tests.servers.server import MissingServerError
from tests.servers.session import session_folder, write_note

pytestmark = pytest.mark.kafka


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """The only way to a broker."""
    folder = session_folder() / f"behind-a-link-{secrets.token_hex(4)}"
    try:
        broker = KafkaProcess(folder)
    except MissingServerError as error:
        leave_out("kafka", error)
    link = Link([broker.address])
    broker.settings["advertised.listeners"] = f"PLAINTEXT://{link.address}"
    try:
        await asyncio.to_thread(broker.start)
        write_note(folder.name, broker)
        await link.open()
        yield link
    finally:
        await link.close()
        await asyncio.to_thread(broker.destroy)


async def heals_within(seconds: float, question: Callable[[], Awaitable[object]], patience_s: float) -> bool:
    """Whether a caller who gives up soon each time, and asks again, is answered in the end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(patience_s):
                await question()
                return True
    return False


async def test_nobody_asks_over_forgotten_connections_for_long(link: Link) -> None:
    log: KafkaEventLog = await open_kafka_event_log(Brokers(link.address))
    try:
        await log.ensure_topics({"topic": 3})
        await log.append("topic", numbered(3, keys=3))
        assert sum((await log.ends("topic")).values()) == 3
        await log.ping()
        link.forget()
        healed = await asyncio.gather(
            heals_within(5, log.ping, 1),
            heals_within(5, lambda: log.ends("topic"), 1),
            heals_within(15, lambda: log.append("topic", numbered(1, keys=1)), 10),
        )
        assert healed == [True, True, True]
    finally:
        await log.close()
