"""Sorting on disk gives back what went in, in order, and streams give it out key by key."""

import random

import pytest

from services.audit.runs import SortedRuns
from services.audit.stream import Stream, as_batches
from tests.operations.works import A, B, C, Works, an_event


@pytest.mark.parametrize("in_memory", [1, 7, 1_000, 10_000])
def test_everything_comes_back_in_order(in_memory: int) -> None:
    chance = random.Random(in_memory)
    entries = [
        (chance.randbytes(4), number, chance.choice([None, "0.5", "é"]), b"\0" * chance.randrange(9))
        for number in range(3_000)
    ]
    with SortedRuns(in_memory) as runs:
        for start in range(0, len(entries), 113):
            runs.add(entries[start : start + 113])
        assert [entry for batch in runs.merged() for entry in batch] == sorted(entries)


def test_equal_entries_are_all_kept() -> None:
    with SortedRuns(2) as runs:
        for _ in range(5):
            runs.add([(b"a",), (b"b",)])
        assert [entry for batch in runs.merged() for entry in batch] == [(b"a",)] * 5 + [(b"b",)] * 5


def test_nothing_comes_back_from_nothing() -> None:
    with SortedRuns() as runs:
        runs.add([])
        assert list(runs.merged()) == []


async def test_a_stream_gives_the_entries_of_a_key_across_batches() -> None:
    batches = [[], [(b"a", 1)], [], [(b"a", 2), (b"c", 3)], [(b"c", 4)], []]
    stream = await Stream(as_batches(batches), lambda entry: entry[0]).open()
    assert await stream.take(b"0") == []
    assert await stream.take(b"a") == [(b"a", 1), (b"a", 2)]
    assert await stream.take(b"b") == []
    assert stream.key == b"c"
    assert await stream.take(b"c") == [(b"c", 3), (b"c", 4)]
    assert stream.key is None
    assert await stream.take(b"c") == []


@pytest.mark.parametrize("kind", ["postgres"])
async def test_a_check_that_does_not_fit_into_memory_finds_the_same(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.audit.verify.SortedRuns", lambda: SortedRuns(in_memory=7))
    events = [an_event(number, (A, B, C)[number % 3]) for number in range(100)]
    await works.accept(*events)
    await works.work_off()
    await works.accept(*events[:9], *(an_event(number) for number in range(30)))
    async with works.rating():
        await works.wait_until_rated()
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert (findings.stored, findings.receipted, findings.issuer_lag) == (130, 100, 30)
    await works.fetch("DELETE FROM usage.logs WHERE log_id = $1", events[50].log_id)
    assert (await works.verify()).counts["lost"] == 1
