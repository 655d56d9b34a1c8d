"""Dead letters are listed once each and go back to where they came from, bytes and all."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.contracts.topics import USAGE_DEAD
from shared.event_log import MAX_RECORD_BYTES, EventLog, Poison, Record, StoredRecord, dead_letter
from shared.event_log.replay import DeadLetter, NotReplayableError, open_dead_letters, replay
from tests.event_log.reading import read_all

TRACE = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


async def letters_of(log: EventLog, topic: str) -> list[DeadLetter]:
    """Those that came from this test's topic; the dead-letter topic is everybody's."""
    async with asyncio.timeout(60), open_dead_letters(log) as letters:
        return [letter async for letter in letters if letter.source and letter.source.topic == topic]


async def set_aside(log: EventLog, topic: str, values: Sequence[bytes]) -> list[StoredRecord]:
    """Append records and dead-letter them all."""
    await log.append(topic, [Record(b"key", value, (TRACE,)) for value in values])
    records = await read_all(log, topic)
    await dead_letter(log, [Poison(record, f"bad: {record.value!r}") for record in records])
    return records


async def test_a_letter_tells_what_it_was_and_where_it_came_from(log: EventLog, topic: str) -> None:
    (record,) = await set_aside(log, topic, [b"\xff\xfe"])
    (letter,) = await letters_of(log, topic)
    assert letter.source == (topic, record.partition, record.offset)
    assert letter.reason == "bad: b'\\xff\\xfe'"
    assert (letter.size, letter.replays, letter.is_replayed, letter.is_cut) == (2, 0, False, False)
    assert letter.record.value == b"\xff\xfe"


async def test_one_record_set_aside_several_times_is_one_letter(log: EventLog, topic: str) -> None:
    records = await set_aside(log, topic, [b"a", b"b"])
    await dead_letter(log, [Poison(record, "again, after a crash") for record in records])
    assert [letter.record.value for letter in await letters_of(log, topic)] == [b"a", b"b"]


async def test_a_replay_appends_the_original_once_more(log: EventLog, topic: str) -> None:
    (record,) = await set_aside(log, topic, [b"\xff"])
    (letter,) = await letters_of(log, topic)
    position = await replay(log, letter)
    assert position == (record.partition, 1)
    _, again = await read_all(log, topic)
    assert (again.key, again.value) == (b"key", b"\xff")
    place = f"{USAGE_DEAD}/{letter.record.partition}/{letter.record.offset}"
    assert again.headers == (TRACE, ("replayed-from", place.encode()), ("replay-count", b"1"))


async def test_what_was_replayed_is_remembered(log: EventLog, topic: str) -> None:
    records = await set_aside(log, topic, [b"a", b"b"])
    await replay(log, (await letters_of(log, topic))[0])
    assert [letter.is_replayed for letter in await letters_of(log, topic)] == [True, False]
    await dead_letter(log, [Poison(records[0], "the same once more")])
    assert [letter.is_replayed for letter in await letters_of(log, topic)] == [True, False]


async def test_what_is_poison_still_comes_back_and_counts(log: EventLog, topic: str) -> None:
    await set_aside(log, topic, [b"a"])
    for count in (1, 2, 3):
        letter = (await letters_of(log, topic))[-1]
        assert (letter.replays, letter.is_replayed) == (count - 1, False)
        await replay(log, letter)
        again = (await read_all(log, topic))[-1]
        await dead_letter(log, [Poison(again, "still bad")])
    assert [letter.is_replayed for letter in await letters_of(log, topic)] == [True, True, True, False]
    assert [name for name, _ in again.headers] == ["traceparent", "replayed-from", "replay-count"]
    assert again.headers[2][1] == b"3"


async def test_a_value_that_was_cut_is_replayed_whole(log: EventLog, topic: str) -> None:
    whole = bytes(range(256)) * 3_904  # as much as fits, and then there is no room for the reason
    await set_aside(log, topic, [whole])
    (letter,) = await letters_of(log, topic)
    assert letter.is_cut
    assert letter.size >= len(whole) > len(letter.record.value or b"")
    await replay(log, letter)
    _, again = await read_all(log, topic)
    assert again.value == whole


async def test_a_cut_value_whose_source_is_gone_is_not_replayed_in_part(log: EventLog, topic: str) -> None:
    (record,) = await set_aside(log, topic, [b"v" * (MAX_RECORD_BYTES - 500)])
    elsewhere = record._replace(offset=99)
    await dead_letter(log, [Poison(elsewhere, "gone " * 200)])
    letter = (await letters_of(log, topic))[-1]
    with pytest.raises(NotReplayableError, match="no longer at"):
        await replay(log, letter)


async def test_a_letter_from_nowhere_is_shown_and_cannot_be_replayed(log: EventLog, topic: str) -> None:
    await log.append(USAGE_DEAD, [Record(topic.encode(), b"who wrote this?")])
    async with open_dead_letters(log) as letters:
        (letter,) = [each async for each in letters if each.record.key == topic.encode()]
    assert (letter.source, letter.reason) == (None, "")
    with pytest.raises(NotReplayableError):
        await replay(log, letter)


async def test_a_letter_whose_topic_is_gone_says_so(log: EventLog, topic: str) -> None:
    (record,) = await set_aside(log, topic, [b"a"])
    missing = f"{topic}.missing"
    await dead_letter(log, [Poison(record._replace(topic=missing), "no")])
    (letter,) = await letters_of(log, missing)
    with pytest.raises(NotReplayableError, match="no topic"):
        await replay(log, letter)
