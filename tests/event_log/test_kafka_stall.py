"""A member of which the library reads no more, although it is in the group and has partitions."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shared.event_log import Slice
from shared.event_log.kafka import Brokers, open_kafka_event_log, stall, subscription
from shared.event_log.kafka.clients import build_member
from shared.event_log.kafka.stall import LOOK_EVERY_S, MANY_READS, StallWatch
from tests.event_log.reading import consuming
from tests.event_log.results import Results, numbered, values_of


def test_a_partition_that_has_records_and_gives_none_is_told_from_one_that_is_idle_or_read() -> None:
    watch = StallWatch(0.0)
    ends = {0: 10, 1: 10, 2: 10}
    assert watch.look(LOOK_EVERY_S, {0: 5, 1: 5, 2: 10}, ends) == []
    for _ in range(MANY_READS):
        watch.note_read([1])
    assert not watch.is_due(2 * LOOK_EVERY_S - 0.1)
    assert watch.is_due(2 * LOOK_EVERY_S)
    assert watch.look(2 * LOOK_EVERY_S, {0: 5, 1: 9, 2: 10}, ends) == [0]


def test_few_reads_and_another_assignment_tell_nothing() -> None:
    watch = StallWatch(0.0)
    watch.look(1, {0: 5}, {0: 10})
    watch.note_read([])
    assert watch.look(2, {0: 5}, {0: 10}) == []
    for _ in range(MANY_READS):
        watch.note_read([])
    watch.start_again(3)
    assert watch.look(4, {0: 5}, {0: 10}) == []


@pytest.mark.kafka
@pytest.mark.parametrize("how", ["hangs", "is empty"])
async def test_a_consumer_whose_client_stalls_gets_another_one(
    how: str,
    kafka_bootstrap: str,
    unique_name: Callable[[str], str],
    results: Results,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []

    def build(brokers: Brokers, group: str) -> Any:
        member = build_member(brokers, group)
        if not made:
            _stall(member, how)
        made.append(member)
        return member

    monkeypatch.setattr(subscription, "build_member", build)
    monkeypatch.setattr(subscription, "LOOK_EVERY_S", 0.5)
    monkeypatch.setattr(stall, "LOOK_EVERY_S", 0.5)
    monkeypatch.setattr(stall, "MANY_READS", 2)
    log = await open_kafka_event_log(Brokers(kafka_bootstrap))
    topic, group = unique_name("topic"), unique_name("group")

    async def apply(part: Slice) -> None:
        await results.apply(group, part)

    try:
        await log.ensure_topics({topic: 1})
        await log.append(topic, numbered(10))
        async with consuming(log, group, topic, results.positions, apply):
            assert await results.wait_for(group, values_of(numbered(10))) == values_of(numbered(10))
        assert len(made) > 1
    finally:
        await log.close()


def _stall(member: Any, how: str) -> None:
    read = member.getmany

    async def getmany(*partitions: object, **options: Any) -> dict[Any, Any]:
        if how == "hangs":
            await asyncio.sleep(60)
        await read(*partitions, **options)
        return {}

    member.getmany = getmany
