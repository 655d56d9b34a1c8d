"""What the log in Postgres forgets in a whole deployment: nothing that anybody still needs."""

import asyncio
from datetime import UTC, datetime, timedelta
from zlib import crc32

import pytest

from services.trimming import build_trimmer
from shared.contracts.topics import RECEIPTS_ISSUED, TOPICS, USAGE_DEAD, USAGE_LOGGED, USAGE_RATED
from tests.operations.works import A, B, C, Works, an_event

pytestmark = pytest.mark.parametrize("kind", ["postgres"])

PARTITIONS = len({crc32(str(account_id).encode()) % TOPICS[USAGE_LOGGED] for account_id in (A, B, C)})
LONG_AGO = "UPDATE event_log.records SET appended_at = now() - interval '30 days'"


async def left(works: Works) -> dict[str, int]:
    """How many records each topic still has."""
    rows = await works.fetch(
        "SELECT topic, count(record_offset) AS records FROM event_log.partitions"
        " LEFT JOIN event_log.records USING (partition_id) GROUP BY topic"
    )
    return {row["topic"]: row["records"] for row in rows}


async def trim(works: Works, **keeps: timedelta) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(build_trimmer(works.database, **keeps).run(stop))
    await asyncio.sleep(2)
    stop.set()
    await task


async def test_what_is_older_than_two_weeks_and_passed_goes_but_for_what_all_can_be_made_from(
    works: Works,
) -> None:
    await works.accept(*(an_event(number, (A, B, C)[number % 3]) for number in range(60)), b"\xff")
    await works.work_off()
    await works.accept(*(an_event(number, (A, B, C)[number % 3]) for number in range(30)))
    async with works.rating():
        await works.wait_until_rated()
    await works.fetch(LONG_AGO)
    await trim(works)
    found = await left(works)
    assert found == dict.fromkeys(TOPICS, 0) | {
        USAGE_LOGGED: 91,
        USAGE_DEAD: 1,
        USAGE_RATED: 30,  # the issuer has not come to these
        RECEIPTS_ISSUED: PARTITIONS,  # the newest one of each stays
    }
    await works.work_off()
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert findings.receipted == 90


async def test_records_may_go_too_where_the_operator_says_so(works: Works) -> None:
    received_at = datetime.now(UTC) - timedelta(days=40)
    await works.accept(
        *(an_event(number, (A, B, C)[number % 3], received_at=received_at) for number in range(60))
    )
    await works.work_off()
    await works.fetch(LONG_AGO)
    await trim(works, passed_on=timedelta(days=60), accepted=timedelta(days=7))
    found = await left(works)
    assert (found[USAGE_LOGGED], found[USAGE_RATED]) == (PARTITIONS, 60)
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert (findings.topic, findings.beyond_topic) == (PARTITIONS, 60 - PARTITIONS)
