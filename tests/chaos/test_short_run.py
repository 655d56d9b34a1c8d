"""Every kind of fault once, on the whole deployment under load: `make chaos-short`."""

import json
import os

import pytest

from tests.chaos.report import Report
from tests.chaos.run import OUT, Plan, run_chaos
from tests.conftest import leave_out
from tests.servers.server import MissingServerError

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]


@pytest.mark.timeout(600)
async def test_what_was_acknowledged_is_counted_priced_and_receipted_once_whatever_fails() -> None:
    seed = int(os.environ.get("SEED") or os.environ["LLMRING_TEST_SEED"])
    report = await _run(seed)
    print(report.as_tables())
    found = report.settlement
    assert (found.lost, found.doubled, found.wrong_cost, found.differences) == (0, 0, 0, [])
    assert found.acknowledged == found.stored == found.rolled_up == found.receipted > 3000
    assert report.complaints == []
    assert (report.unexpected_answers, report.unexpected) == (0, [])
    assert (report.dead_letters, report.stale) == (0, {})
    assert report.is_clean()
    assert len(report.count_faults()) >= 25
    written = json.loads((OUT / "report.json").read_text())
    assert written["seed"] == seed
    assert written["faults"] == report.count_faults()


async def _run(seed: int) -> Report:
    try:
        return await run_chaos(Plan(seed, minutes=None))
    except MissingServerError as error:
        leave_out("kafka", error)
