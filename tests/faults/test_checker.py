"""The checker is worth something: it finds what is wrong, and says nothing where all is right."""

import pytest

from tests.faults.calls import Call, Fault, Kind, Moment
from tests.faults.case import run_case
from tests.faults.street import Servers, open_street

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(600)]

# With these bugs a slice takes two commits: the one that is planted, and the product's own. The issuer has
# made three before: for its key, for the log, and for the signature of the log.
RATED = Call("postgres", "query COMMIT;", 2)
ISSUED = Call("postgres", "query COMMIT;", 5)
UNKEYED = Call("kafka", "producer.send_batch usage.logged", 2)  # the second record of the script


@pytest.mark.parametrize(
    ("tested", "bug", "fault", "words"),
    [
        ("rater", "move_position_apart", Fault(RATED, Moment.BEFORE, Kind.ERROR), "lost"),
        ("rater", "move_position_apart", Fault(RATED, Moment.BEFORE, Kind.DEATH), "lost"),
        ("rater", "add_sums_apart", Fault(RATED, Moment.BEFORE, Kind.ERROR), "rollups"),
        ("issuer", "move_position_apart", Fault(ISSUED, Moment.BEFORE, Kind.DEATH), "and 0 receipts"),
        ("ingest", "answer_before_append", Fault(UNKEYED, Moment.BEFORE, Kind.DEATH), "lost"),
    ],
)
async def test_a_planted_bug_is_found(
    servers: Servers, tested: str, bug: str, fault: Fault, words: str
) -> None:
    async with open_street(servers, tested) as street:
        unharmed = await run_case(street, bug=bug)
        assert not unharmed.wrong, f"without a fault nobody can see it: {unharmed.wrong}"
        outcome = await run_case(street, fault, bug=bug)
    assert outcome.fired
    assert any(words in each for each in outcome.wrong), outcome.wrong
