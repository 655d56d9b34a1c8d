"""All the faults of one process: count its calls, then let each of them go wrong."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.calls import SERVERS, Call, Fault, Kind, Moment
from tests.faults.case import Outcome, run_case
from tests.faults.street import Servers, Street, open_street

STREETS: Final = 4
"""Cases that run side by side: most of the time of a case is waiting."""

_COUNTED_RUNS: Final = 3
_TRIES: Final = 3
"""A call that depends on a timer may be missing from a run; then the case is run again."""

_ENOUGH: Final = 8
"""So many cases that went wrong say enough."""


@dataclass
class Result:
    """What came of a campaign.

    Attributes:
        counted: the calls of a run without a fault, and whether each is made while the process stops.
        outcomes: of each fault.
    """

    tested: str
    counted: dict[Call, bool]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def wrong(self) -> list[Outcome]:
        """Cases that the checker objects to."""
        return [outcome for outcome in self.outcomes if outcome.wrong]

    @property
    def missed(self) -> list[Outcome]:
        """Faults that have never struck."""
        return [outcome for outcome in self.outcomes if not outcome.fired and not outcome.wrong]


Choose = Callable[[Iterable[Call]], Iterable[Fault]]


async def run_campaign(servers: Servers, tested: str, choose: Choose, *, streets: int = STREETS) -> Result:
    """Count the calls of a process, then run one case for each fault that is chosen.

    Args:
        servers: shared by all streets.
        tested: the process.
        choose: which faults, of the calls counted.
        streets: how many cases run side by side.
    """
    runs = await asyncio.gather(*(_run_unharmed(servers, tested) for _ in range(_COUNTED_RUNS)))
    result = Result(tested, count(runs))
    waiting = deque(choose(result.counted))
    await asyncio.gather(*(_work_off(servers, waiting, result) for _ in range(streets)))
    return result


async def _run_unharmed(servers: Servers, tested: str) -> Outcome:
    async with open_street(servers, tested) as street:
        await run_case(street)  # the very first case finds empty tables, and does more than all the others
        outcome = await run_case(street, counted=True)
    assert not outcome.wrong, f"without a fault: {outcome.wrong}\n{outcome.told}"
    return outcome


def count(runs: Sequence[Outcome]) -> dict[Call, bool]:
    """The calls that are made in every run, and whether they belong to the stopping."""
    common = set.intersection(*({made.call for made in run.made} for run in runs))
    late = {made.call for run in runs for made in run.made if made.at_s >= run.terminated_at_s}
    return {made.call: made.call in late for made in runs[0].made if made.call in common}


async def _work_off(servers: Servers, waiting: deque[Fault], result: Result) -> None:
    """Run cases in one street; where something went wrong, in another one from then on."""
    while waiting and len(result.wrong) < _ENOUGH:
        async with open_street(servers, result.tested) as street:
            while waiting:
                fault = waiting.popleft()
                outcome = await _run_until_fired(street, fault, at_end=result.counted[fault.call])
                result.outcomes.append(outcome)
                if outcome.wrong:
                    break


async def _run_until_fired(street: Street, fault: Fault, *, at_end: bool) -> Outcome:
    for _ in range(_TRIES):
        outcome = await run_case(street, fault, at_end=at_end)
        if outcome.fired or outcome.wrong:
            break
    return outcome


def every_fault(calls: Iterable[Call]) -> list[Fault]:
    """Everything that can go wrong with these calls.

    A process that dies before a call leaves what one leaves that dies after the call before it.
    """
    return [
        Fault(call, moment, kind)
        for call in calls
        for kind in Kind
        for moment in Moment
        if (kind, moment) != (Kind.DEATH, Moment.BEFORE)
    ]


def sample(faults: Sequence[Fault], count: int, seed: int) -> list[Fault]:
    """Some of the faults, the same for the same seed."""
    return random.Random(seed).sample(faults, min(count, len(faults)))


def tabulate(result: Result) -> str:
    """What was counted and what was done, as a table in Markdown."""
    lines = [
        f"| {result.tested} calls | made | error | time-out | death | not met again |",
        "|---|---|---|---|---|---|",
    ]
    calls = Counter(call.server for call in result.counted)
    struck: Counter[tuple[str, Kind]] = Counter()
    missed: Counter[str] = Counter()
    for outcome in result.outcomes:
        assert outcome.fault is not None
        if outcome.fired:
            struck[outcome.fault.call.server, outcome.fault.kind] += 1
        else:
            missed[outcome.fault.call.server] += 1
    for server in SERVERS:
        if calls[server]:
            cells = [calls[server], *(struck[server, kind] for kind in Kind), missed[server]]
            lines.append(f"| {server} | {' | '.join(map(str, cells))} |")
    kinds = [sum(struck[server, kind] for server in SERVERS) for kind in Kind]
    cells = [len(result.counted), *kinds, missed.total()]
    lines.append(f"| all | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
