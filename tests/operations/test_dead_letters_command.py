"""`llmring-api dead-letters`: what an operator sees of poison, and how it gets another try."""

import json
from typing import Any

from tests.operations.works import Works, an_event


async def listed(works: Works, *options: str) -> list[dict[str, Any]]:
    printed = await works.run("dead-letters", "list", "--json", *options)
    assert printed.status == 0, printed.err
    return [json.loads(line) for line in printed.out.splitlines()]


async def test_records_are_replayed_after_what_was_wrong_is_put_right(works: Works) -> None:
    works.pricebook.missing.add("2031.05.01")
    await works.accept(*(an_event(number) for number in range(5)), b"\xff\xfe", key=an_event().account_id)
    await works.work_off()
    assert await works.fetchval("SELECT count(*) FROM usage.logs") == 0
    letters = await listed(works)
    assert [letter["offset"] for letter in letters] == list(range(6))
    assert letters[0]["reason"] == "there is no registry version 2031.05.01"
    assert letters[5]["first_bytes"] == "\\xff\\xfe"
    assert (letters[5]["topic"], letters[5]["source_offset"], letters[5]["size"]) == ("usage.logged", 5, 2)

    works.pricebook.missing.clear()
    replayed = await works.run("dead-letters", "replay", "--all")
    assert (replayed.status, replayed.out.splitlines()[-1]) == (0, "6 replayed."), replayed.err
    again = await works.run("dead-letters", "replay", "--all")
    assert (again.status, again.out) == (0, "0 replayed.\n")
    await works.work_off()
    assert await works.fetchval("SELECT count(*) FROM usage.logs") == 5
    assert await works.fetchval("SELECT sum(requests) FROM usage.rollups WHERE grain = 'd'") == 5
    assert await works.fetchval("SELECT count(*) FROM receipts.receipts") == 5

    (still,) = await listed(works)
    assert (still["replays"], still["replayed"], still["first_bytes"]) == (1, False, "\\xff\\xfe")
    assert [letter["replayed"] for letter in await listed(works, "--replayed")] == [True] * 6 + [False]


async def test_one_can_be_picked_by_its_offset_or_its_reason(works: Works) -> None:
    await works.accept(b"\xff", b"[]", b'{"v": 1}')
    await works.work_off()
    picked = await works.run("dead-letters", "replay", "--offset", "1", "--offset", "77")
    assert picked.status == 1
    assert "77: there is no dead letter at this offset" in picked.out
    assert "1: now usage.logged/" in picked.out
    assert [letter["offset"] for letter in await listed(works)] == [0, 2]
    picked = await works.run("dead-letters", "replay", "--reason-contains", "missing required field")
    assert "2: now usage.logged/" in picked.out
    assert [letter["offset"] for letter in await listed(works)] == [0]
    twice = await works.run("dead-letters", "replay", "--offset", "1")
    assert "was replayed already" in twice.out
    assert "1 replayed." in (await works.run("dead-letters", "replay", "--offset", "1", "--again")).out


async def test_the_list_is_for_people_too(works: Works) -> None:
    await works.accept(b"\xff\n", *([b"[]"] * 3))
    await works.work_off()
    printed = await works.run("dead-letters", "list", "--limit", "2")
    assert printed.status == 0, printed.err
    assert "0: it cannot be decoded" in printed.out
    assert "from usage.logged/" in printed.out
    assert "\\xff\\x0a" in printed.out
    assert printed.out.splitlines()[-1] == "4 wait, 2 more than shown; 0 were replayed."


async def test_without_a_choice_nothing_is_replayed(works: Works) -> None:
    for wrong in ([], ["--all", "--offset", "1"]):
        printed = await works.run("dead-letters", "replay", *wrong)
        assert printed.status == 2
        assert "Give --offset" in printed.err
