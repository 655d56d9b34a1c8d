"""Every outside call of ingest, the rater and the issuer may fail once, and nothing is lost or doubled.

By default every call fails with an error and by the death of its process, and a seeded sample of the rest is
taken. `make FAULTS=all faults` runs everything, `FAULTS=few` a sample of everything, another one each time.
docs/reliability.md has the figures.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from tests.faults.calls import Call, Fault, Kind, Moment
from tests.faults.campaign import Result, every_fault, run_campaign, sample, tabulate
from tests.faults.conftest import TABLE
from tests.faults.street import PROCESSES, Servers

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(3600)]

SAMPLE = 40
FEW = 18
CHANGING = ("COMMIT", "INSERT", "UPDATE", "COPY", "EVAL", "SET", "send_batch", "Produce", "InitProducerId")
FEWEST = {
    # Far fewer calls than these would mean that they are no longer seen.
    "ingest": {"postgres": 12, "kafka": 20, "kafka wire": 25, "redis": 10},
    "rater": {"postgres": 30, "kafka": 20, "kafka wire": 30},
    "issuer": {"postgres": 30, "kafka": 20, "kafka wire": 30},
}
ALWAYS_THERE = {
    "ingest": ("redis: connect", "kafka: producer.send_batch usage.logged", "postgres: connect"),
    "rater": ("postgres: query COMMIT;", "kafka: producer.send_batch usage.rated", "kafka: member.getmany"),
    "issuer": (
        "postgres: query COMMIT;",
        "kafka: producer.send_batch receipts.issued",
        "kafka: member.commit",
    ),
}


@pytest.mark.parametrize("tested", PROCESSES)
async def test_any_call_may_fail_once_and_every_record_still_counts_once(
    servers: Servers, tested: str, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ["LLMRING_TEST_SEED"])
    extent = os.environ.get("LLMRING_FAULTS") or "default"
    assert extent in ("all", "few", "default"), extent

    def choose(counted: Iterable[Call]) -> list[Fault]:
        faults = every_fault(counted)
        if extent == "default":
            return take_by_default(faults, seed)
        return faults if extent == "all" else sample(faults, FEW, seed)

    result = await run_campaign(servers, tested, choose)
    record_property(TABLE, tabulate(result))
    expect_plausible(result)
    assert not result.wrong, "\n\n".join(
        f"{outcome.fault}: {outcome.wrong}\n{outcome.told}" for outcome in result.wrong
    )


def take_by_default(faults: list[Fault], seed: int) -> list[Fault]:
    """For every call an error and a death, for every request on the wire an error; and a sample of the rest.

    What changes something fails at both moments; for what only asks, the seed says which.
    """

    def is_taken(fault: Fault) -> bool:
        if fault.kind is Kind.TIMEOUT:
            return False
        if fault.kind is Kind.DEATH:
            return fault.call.server != "kafka wire"
        moment = (Moment.BEFORE, Moment.AFTER)[(seed + fault.call.number) % 2]
        return fault.moment is moment or changes_something(fault.call)

    taken = [fault for fault in faults if is_taken(fault)]
    return taken + sample([fault for fault in faults if not is_taken(fault)], SAMPLE, seed)


def changes_something(call: Call) -> bool:
    """Whether it makes a difference that the server has done it and nobody heard."""
    return not call.name.startswith("prepare") and any(word in call.name for word in CHANGING)


def expect_plausible(result: Result) -> None:
    """The calls were seen, and the faults have struck."""
    counts = Counter(call.server for call in result.counted)
    for server, fewest in FEWEST[result.tested].items():
        assert counts[server] >= fewest, f"only {counts[server]} calls of {result.tested} to {server}"
    names = {f"{call.server}: {call.name}" for call in result.counted}
    assert names.issuperset(ALWAYS_THERE[result.tested]), names
    # How often a client looks for more depends on time; its first look is always there. Of a few, one
    # may be missed.
    missed = [str(outcome.fault) for outcome in result.missed]
    assert len(missed) <= max(1, len(result.outcomes) // 30), missed
    assert not any(missed_one.endswith(" #1") for missed_one in missed), missed
