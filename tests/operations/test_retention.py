"""What checks and rebuilds make of a deployment whose old records were deleted."""

from datetime import UTC, datetime, timedelta

import pytest

from services.ingest.retention import Retention
from shared.clock import FixedClock
from shared.contracts.accounts import RetentionRule
from shared.contracts.topics import USAGE_LOGGED
from shared.event_log.postgres.trim import Trimmer
from tests.operations.test_rebuild import EMPTY_ALL, contents
from tests.operations.works import NOW, A, B, Works, an_event

pytestmark = pytest.mark.parametrize("kind", ["postgres"])


async def sweep(works: Works, days: int = 30) -> int:
    async def rules(account_ids: object) -> list[RetentionRule]:
        return [RetentionRule(account_id=A, days=days, shortened_at=None)]

    retention = Retention(works.database, rules, FixedClock(NOW), timedelta(0), batch=7)
    return (await retention.sweep()).records


async def test_deleted_records_are_no_difference_whatever_is_checked_or_rebuilt(works: Works) -> None:
    ages = [timedelta(days=10 * n, hours=n) for n in range(12)]
    for account in (A, B):
        events = [an_event(n, account, occurred_at=NOW - age) for n, age in enumerate(ages)]
        oldest = {"occurred_at": NOW - ages[-1], "body_digest": b"d" * 32}
        keyed = [an_event(n, account, idempotency_key=f"k{n}", **oldest) for n in range(3)]
        await works.accept(*events, *keyed)
    await works.work_off()
    tables = ("rollups", "latency_rollups", "months", "logs")
    before = await contents(works, *tables)
    assert await sweep(works) == 12
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert (findings.topic, findings.stored, findings.expired, findings.receipted) == (30, 18, 12, 30)
    # A record that is missing although it is young enough is lost, as ever.
    await works.fetch("DELETE FROM usage.logs WHERE account_id = $1 AND occurred_at = $2", A, NOW)
    findings = await works.verify()
    assert findings.counts["lost"] == 1
    # From the topic everything comes back, and goes again.
    await works.fetch(EMPTY_ALL.replace(", usage.claims", ""))
    printed = await works.run("usage", "rebuild", "--from-topic")
    assert printed.status == 0, printed.err
    assert await contents(works, *tables) == before
    assert await sweep(works) == 12
    findings = await works.verify()
    assert findings.is_clean, findings.told


async def test_also_where_the_topic_has_let_go_of_them(works: Works) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=900)
    times = {"occurred_at": NOW - timedelta(days=40), "received_at": long_ago}
    await works.accept(*(an_event(n, **times) for n in range(10)))
    await works.work_off()
    await works.accept(*(an_event(n) for n in range(5)))
    await works.work_off()
    await works.fetch(
        "UPDATE event_log.records SET appended_at ="
        " CASE WHEN record_offset < 10 THEN now() - interval '2 years' ELSE $1::timestamptz END",
        NOW,
    )
    assert await Trimmer(works.database, {USAGE_LOGGED: timedelta(days=365)}, {}).trim() == 10
    assert await sweep(works) == 10
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert (findings.topic, findings.stored, findings.receipted) == (5, 5, 15)
