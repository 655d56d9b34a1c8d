"""One run: start everything, break it by a schedule under load, let it heal, settle the accounts."""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.chaos.cluster import Cluster
from tests.chaos.door import Door
from tests.chaos.fault import Fault, Stage
from tests.chaos.faults_links import list_link_faults
from tests.chaos.faults_programs import list_program_faults
from tests.chaos.faults_servers import list_server_faults
from tests.chaos.final import run_doctor, sample_again, show_versions
from tests.chaos.lag import await_receipted, await_replicas
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.prices import PriceChanges
from tests.chaos.report import Recovery, Report
from tests.chaos.schedule import Slot, plan_long, plan_short
from tests.chaos.settle import Settlement, settle
from tests.chaos.watch import Watch

OUT: Final = Path(__file__).parent / "out"
_RECOVER_S: Final = 120.0
_ACCOUNTS: Final = 8
_STRIKE_S: Final = 120.0


@dataclass(frozen=True)
class Plan:
    """How long and how hard.

    Attributes:
        minutes: how long faults are made; None for each kind once.
        requests_per_second: of which a few are batches: about 2.2 records each.
        calm_s: between a recovery and the next fault.
    """

    seed: int
    minutes: float | None
    requests_per_second: float = 50.0
    senders: int = 16
    readers: int = 2
    calm_s: float = 0.5
    only: tuple[str, ...] = ()


@dataclass
class Run:
    """One run in progress."""

    plan: Plan
    cluster: Cluster = field(default_factory=Cluster)
    ledger: Ledger = field(default_factory=Ledger)
    report: Report = field(default_factory=Report)

    async def __call__(self) -> Report:
        """From the start of the servers to the settled accounts."""
        started = time.monotonic()
        await self.cluster.start()
        self._say(f"everything is ready after {self.cluster.started_in_s:.1f} s")
        self.door = Door(self.cluster.url)
        await self.door.open()
        try:
            self.load = Load(
                self.door,
                self.ledger,
                self.plan.seed,
                senders=self.plan.senders,
                requests_per_second=self.plan.requests_per_second,
                readers=self.plan.readers,
            )
            self.stage = Stage(self.cluster, self.load)
            await self.load.open_accounts(_ACCOUNTS, self.cluster.operator_key)
            watch = Watch(self.cluster)
            prices = PriceChanges(self.door, self.cluster.operator_key, random.Random(self.plan.seed))
            self.load.start()
            async with watch.running(), prices.running():
                await self._break_things()
                await self._come_to_rest()
                await self._settle()
            self.report.price_changes = prices.published
            self.report.complaints += [*self.stage.complaints, *self.ledger.faults, *watch.complaints]
            self.report.note_door(self.door)
            self.report.drains_s = self.stage.drains_s
            self.report.error_lines = watch.count_error_lines()
        finally:
            await self.door.close()
            self.report.seed = self.plan.seed
            self.report.minutes = round((time.monotonic() - started) / 60, 2)
        return self.report

    def _slots(self) -> Iterator[Slot]:
        chance = random.Random(f"faults-{self.plan.seed}")
        faults: list[Fault] = [
            fault
            for fault in (
                *list_program_faults(),
                *list_server_faults(self.stage),
                *list_link_faults(self.stage),
            )
            if not self.plan.only or fault.kind in self.plan.only
        ]
        if self.plan.minutes is None:
            return iter(plan_short(faults, chance))
        until = time.monotonic() + self.plan.minutes * 60
        return itertools.takewhile(lambda _: time.monotonic() < until, plan_long(faults, chance))

    async def _break_things(self) -> None:
        await asyncio.sleep(2)
        for number, slot in enumerate(self._slots()):
            chance = random.Random(f"slot-{self.plan.seed}-{number}")
            await self._strike(slot, chance)
            await asyncio.sleep(self.plan.calm_s)

    async def _strike(self, slot: Slot, chance: random.Random) -> None:
        names = {fault.name for fault in slot}
        acknowledged = len(self.ledger.acknowledged)
        self.door.faults_now = names
        began = time.monotonic()
        try:
            async with asyncio.timeout(_STRIKE_S):
                await asyncio.gather(
                    *(fault.strike(self.stage, random.Random(chance.random())) for fault in slot)
                )
        except Exception as error:
            self.report.complaints.append(f"{sorted(names)} could not be carried out: {error!r}")
        lasted_s = time.monotonic() - began
        accepts_s, no_lag_s = await asyncio.gather(self._time_acceptance(), self._time_lag(names))
        await self._await_whole(names)
        self.door.faults_now = set()
        for fault in slot:
            recovery = Recovery(fault.kind, fault.target, len(slot) > 1, lasted_s, accepts_s, no_lag_s)
            self.report.recoveries.append(recovery)
        self._say(
            f"{' + '.join(sorted(names))}: {lasted_s:.1f} s; accepting after {_shown(accepts_s)}, "
            f"no lag after {_shown(no_lag_s)}; {len(self.ledger.acknowledged) - acknowledged} acknowledged"
        )

    async def _time_acceptance(self) -> float | None:
        """How long until a record of every account was acknowledged."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(_RECOVER_S):
                await asyncio.gather(*map(self.load.probe, self.load.accounts))
        except TimeoutError:
            return None
        return time.monotonic() - started

    async def _time_lag(self, names: Iterable[str]) -> float | None:
        try:
            return await await_receipted(self.cluster, _RECOVER_S)
        except TimeoutError as error:
            self.report.complaints.append(f"{sorted(names)}: {error}")
            return None

    async def _await_whole(self, names: Iterable[str]) -> None:
        """Before the next fault everything has to be as before the last one."""
        try:
            await await_replicas(self.cluster, _RECOVER_S)
            await self.cluster.await_ready(list(self.cluster.programs.values()), _RECOVER_S)
        except TimeoutError as error:
            self.report.complaints.append(f"{sorted(names)}: {error}")

    async def _come_to_rest(self) -> None:
        left = await self.load.stop(_RECOVER_S)
        if left:
            self.report.complaints.append(f"{left} senders did not get their records acknowledged")
        self._say(f"the load has stopped; {len(self.ledger.acknowledged)} records are acknowledged")
        await self._time_lag(["the end of the load"])

    async def _settle(self) -> None:
        """The accounts, then every repetition answered as before, then the accounts once more."""
        versions = await show_versions(self.door, self.ledger)
        chance = random.Random(self.plan.seed)
        self.report.complaints += await sample_again(self.load, chance)
        await self._time_lag(["the repetitions"])
        self.settlement: Settlement = await settle(
            self.ledger, self.cluster.database_url, versions, signatures=20_000
        )
        self.report.settlement = self.settlement
        self.report.dead_letters = sum((await self.cluster.brokers.read_ends(["usage.dead"])).values())
        self.report.doctor = await asyncio.to_thread(run_doctor, self.cluster)

    @staticmethod
    def _say(what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


async def run_chaos(plan: Plan) -> Report:
    """Do it all, write the report, keep the logs of all processes, and leave nothing running."""
    # The library tells of every connection that is refused, which is what this is about.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    OUT.mkdir(exist_ok=True)
    run = Run(plan)
    try:
        report = await run()
    finally:
        run.cluster.keep_logs(OUT / "logs")
        await run.cluster.destroy()
    document: dict[str, Any] = report.as_document()
    (OUT / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    (OUT / "table.md").write_text(report.as_tables(), encoding="utf-8")
    return report
