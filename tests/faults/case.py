"""One case: load, one fault, recovery, and the checker."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from tests.faults.audit import Ends, check, is_at_end
from tests.faults.calls import Fault, Kind, Made
from tests.faults.child import Child
from tests.faults.script import (
    Ledger,
    Post,
    deliver,
    deliver_to_both,
    offer_other_body,
    send_again,
    write_script,
)
from tests.faults.street import Street, new_accounts, new_seed_text

_SETTLE_S: Final = 60.0
_FIRE_S: Final = 3.0
_POLL_S: Final = 0.03


@dataclass
class Outcome:
    """What came of a case.

    Attributes:
        fired: the fault has struck.
        wrong: what the checker found.
        statuses: of answers that were no acknowledgement.
        made: the calls of the tested process, if they were counted.
        terminated_at_s: when it was told to end, by the clock of `made`.
        told: logs, where something is wrong.
        seconds: how long it all took.
    """

    fault: Fault | None
    fired: bool = False
    wrong: list[str] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    terminated_at_s: float = 0.0
    told: str = ""
    seconds: float = 0.0


async def run_case(
    street: Street,
    fault: Fault | None = None,
    *,
    at_end: bool = False,
    counted: bool = False,
    bug: str | None = None,
) -> Outcome:
    """Run the script through a street whose tested process meets a fault, and check what is left.

    Args:
        street: where.
        fault: what goes wrong; None for nothing.
        at_end: the fault strikes while the process stops.
        counted: have the tested process tell of its calls.
        bug: to be planted in the tested process.
    """
    started_at_s = time.monotonic()
    case = _Case(street, fault, counted=counted, bug=bug)
    outcome = case.outcome
    try:
        await case.run(at_end=at_end)
        outcome.wrong += await check(street, case.ledger, case.accounts, case.starts)
    except Exception as error:  # whatever it is, the other cases go on
        outcome.wrong.append(f"{type(error).__name__}: {error}")
    finally:
        await case.close()
    outcome.fired = any(child.fired.is_set() for child in case.children)
    outcome.statuses = case.ledger.statuses
    outcome.made = [made for child in case.children for made in child.made]
    if not street.are_others_alive():
        outcome.wrong.append("a process that is not tested has ended")
    if outcome.wrong:
        outcome.told = "\n".join([*(child.tell() for child in case.children), street.tell_beside()])
    for child in case.children:
        child.forget()
    outcome.seconds = time.monotonic() - started_at_s
    return outcome


class _Case:
    """The steps of one case."""

    def __init__(self, street: Street, fault: Fault | None, *, counted: bool, bug: str | None) -> None:
        self._street = street
        self._fault = fault
        self._counted = counted
        self._bug = bug
        # A new key at each first start: then all that the issuer does for one is among its calls.
        self._seed = new_seed_text()
        self._stopping = False
        self._keeping: asyncio.Task[None] | None = None
        self.outcome = Outcome(fault)
        self.accounts = new_accounts()
        self.script = write_script(*self.accounts)
        self.ledger = Ledger()
        self.children: list[Child] = []
        self.starts: Ends = {}

    async def run(self, *, at_end: bool) -> None:
        street = self._street
        self.starts = await street.ends()
        if street.tested == "ingest":
            child = await self._start()
            await street.wait_tested_ready(child)
            with street.nothing_stored():
                await self._load(street.post_to_tested())
            await self._settle()
            # Once more, now that it is stored.
            await deliver(street.post_to_tested(), self.script.in_turn[0], self.ledger)
        else:
            await self._load(street.post_beside())
            child = await self._start()
        await self._settle()
        if self._fault is not None and not at_end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRE_S):
                    await child.fired.wait()
        await send_again(street.post_beside(), self.ledger)
        await self._settle()
        await self._stop()

    async def close(self) -> None:
        """Leave no process of this case behind."""
        if self._keeping is not None:
            self._keeping.cancel()
        for child in self.children:
            child.kill()
            await child.wait_ended()

    async def _load(self, post: Post) -> None:
        for request in self.script.in_turn:
            await deliver(post, request, self.ledger)
        await deliver_to_both((post, self._street.post_beside()), self.script.at_once, self.ledger)
        await offer_other_body(post, self.script.in_turn[0], self.ledger)

    async def _start(self) -> Child:
        """Start the tested process with its fault, and see to it that one runs from then on."""
        child = await self._street.fork_tested(
            fault=self._fault, counted=self._counted, bug=self._bug, seed=self._seed
        )
        self.children.append(child)
        self._keeping = asyncio.create_task(self._keep(child))
        return child

    async def _keep(self, child: Child) -> None:
        """As a supervisor does: start it again when it has died."""
        while True:
            await child.ended.wait()
            if self._stopping:
                return
            if not self._may_die(child):
                self.outcome.wrong.append(f"it ended with status {child.status} by itself")
            child = await self._street.fork_tested(seed=self._seed)
            self.children.append(child)

    def _may_die(self, child: Child) -> bool:
        return self._fault is not None and self._fault.kind is Kind.DEATH and child.fired.is_set()

    async def _stop(self) -> None:
        """SIGTERM, after which it ends in peace, unless the fault strikes then."""
        self._stopping = True
        self.outcome.terminated_at_s = time.monotonic()
        child = self.children[-1]
        if len(self.children) > 1:
            await self._street.wait_tested_ready(child)  # it may have been started just now
        child.terminate()
        status = await child.wait_ended()
        if status != 0 and not self._may_die(child):
            self.outcome.wrong.append(f"it ended with status {status} after SIGTERM")

    async def _settle(self) -> None:
        """Wait until both groups have come to the end of what they read."""
        # One after the other: what the rater writes stands in its topic before its position moves.
        for group in ("rater", "issuer"):
            ends = await self._street.ends()
            await self._until_true(functools.partial(is_at_end, self._street, ends, group), _SETTLE_S)

    async def _until_true(self, ask: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait for something; the checker says it if it does not come."""
        give_up_at_s = time.monotonic() + seconds
        while not await ask():
            if time.monotonic() > give_up_at_s:
                return
            await asyncio.sleep(_POLL_S)
