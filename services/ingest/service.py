"""Puts the ingest service together: the HTTP application, the rater and the pricebook."""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

from services.ingest.accept import Acceptance
from services.ingest.claim import Claims
from services.ingest.claim_cache import ClaimCache
from services.ingest.claim_memory import Backlog, ClaimMemory
from services.ingest.elsewhere import Elsewhere, SharedMarks
from services.ingest.own_keys import RemoteKeys
from services.ingest.presence import Presence
from services.ingest.price_late import LatePricing
from services.ingest.quota import Quotas
from services.ingest.quota_counter import MemoryCounter, QuotaCounter
from services.ingest.record import RATER, Recorder
from services.ingest.reserve import Reserving
from services.ingest.retention import Retention, run_retention
from services.ingest.routes.budgets import build_budgets, build_reservations
from services.ingest.routes.kept import build_kept
from services.ingest.routes.log import build_documented, build_fast_lanes
from services.ingest.routes.month import build_month
from services.ingest.routes.reads import build_reads
from services.ingest.routes.reprice import build_reprice
from services.ingest.rules import RemoteRules
from services.ingest.set_budgets import Budgeting
from services.ingest.settings import IngestSettings, RetentionSettings
from services.ingest.settle import Settling
from services.ingest.watermark import Watermark
from services.ingest.worker import build_rater
from shared.clock import Clock
from shared.contracts.topics import TOPICS, USAGE_LOGGED
from shared.event_log.port import EventLog
from shared.event_log.positions import PostgresPositions
from shared.postgres import Database, Schema
from shared.pricebook.pricebook import Pricebook
from shared.runtime.requests_first import RequestsFirst
from shared.runtime.service import Service, Worker
from shared.web.app import build_app
from shared.web.client import Upstream
from shared.web.principal import PrincipalVerifier

SCHEMA = Schema("usage", Path(__file__).parent / "migrations")


def build_ingest(
    *,
    database: Database,
    event_log: EventLog,
    pricebook: Pricebook,
    principals: PrincipalVerifier,
    clock: Clock,
    version: str,
    auth: Upstream,
    pace: RequestsFirst | None = None,
    alone: bool = False,
    claim_cache: ClaimCache | None = None,
    marks: SharedMarks | None = None,
    quota_counter: QuotaCounter | None = None,
    budget_clock: Clock | None = None,
    settings: IngestSettings | None = None,
) -> Service:
    """The ingest service, as a rule with its rater in the same process.

    Args:
        pricebook: prices records; this service keeps it up to date.
        version: of this program, for the OpenAPI document.
        auth: tells whose keys are whose.
        pace: of the rater, where it shares the process with requests.
        alone: this service is a process of its own. Then raters are others (`build_rating`).
        claim_cache: idempotency keys, for as long as the database is away; see `ClaimMemory`. None where the
            event log lives in the same database.
        marks: the newest positions, shared with other processes of this service and kept for a minute or
            so; None where there are no others.
        quota_counter: counts what accounts have used of their month, for all processes of this service; this
            process's memory by default.
        budget_clock: tells the month of budgets, and when reservations expire. None: the database does, so
            that the clocks of several processes need not agree.
    """
    settings = settings or IngestSettings()
    positions = PostgresPositions(database, SCHEMA.name)
    presence = Presence(database)

    async def load_applied() -> dict[int, int]:
        return await presence.ask(lambda: positions.load(RATER, USAGE_LOGGED, range(TOPICS[USAGE_LOGGED])))

    async def load_ends() -> dict[int, int]:
        return await event_log.ends(USAGE_LOGGED)

    async def is_rated(ends: Mapping[int, int]) -> bool:
        if pace is not None:
            pace.hurry()
        applied = await load_applied()
        return all(applied.get(partition, 0) >= end for partition, end in ends.items())

    async def note_start() -> None:
        watermark.started(await load_ends())

    async def load_prices() -> None:
        await pricebook.in_force(clock.now())

    watermark = Watermark(
        load_applied,
        hurry=pace.hurry if pace else lambda: None,
        elsewhere=None if marks is None else Elsewhere(marks, load_ends),
    )
    backlog = Backlog(load_ends, is_rated)
    memory = None if claim_cache is None else ClaimMemory(database, presence, claim_cache, backlog, clock)
    quotas = Quotas(
        counter=quota_counter or MemoryCounter(),
        database=database,
        presence=presence,
        backlog=backlog,
        clock=clock,
        wait=timedelta(milliseconds=settings.quota_wait_ms),
    )
    acceptance = Acceptance(
        event_log=event_log,
        pricebook=pricebook,
        claims=Claims(database, presence, memory),
        quotas=quotas,
        watermark=watermark,
        clock=clock,
        max_skew=timedelta(seconds=settings.max_skew_s),
    )
    workers = [Worker("pricebook", lambda stop: pricebook.follow(event_log, stop))]
    on_start = [note_start, load_prices]
    if memory is not None:
        workers.append(Worker("claim-memory", memory.run))
        on_start.append(memory.look)
    if not alone:
        recorder = Recorder(
            database=database,
            event_log=event_log,
            positions=positions,
            pricebook=pricebook,
            watermark=watermark,
            clock=clock,
            follow_records=claim_cache is not None,
        )
        workers.append(
            build_rater(recorder, event_log, positions, max_records=settings.rater_batch, pace=pace)
        )
    pricing = LatePricing(
        database=database,
        presence=presence,
        event_log=event_log,
        pricebook=pricebook,
        clock=clock,
        watermark=watermark,
    )
    budgeting = Budgeting(
        database=database,
        presence=presence,
        event_log=event_log,
        own_keys=RemoteKeys(auth),
        clock=clock,
        month_clock=budget_clock,
        slice_records=settings.budget_slice,
    )
    settling = Settling(
        database=database, presence=presence, event_log=event_log, clock=clock, expiry_clock=budget_clock
    )
    read_wait = timedelta(milliseconds=settings.read_wait_ms)
    reads = build_reads(database, presence, watermark, clock, read_wait)
    return Service(
        name="ingest",
        app=build_app(
            "LLMRing usage",
            [
                *reads,
                build_reprice(pricing),
                build_month(quotas, watermark, clock, read_wait),
                build_kept(database, presence),
                *build_budgets(budgeting, watermark, read_wait),
                *build_reservations(Reserving(database, presence, budget_clock), settling),
            ],
            service="ingest",
            lanes=build_fast_lanes(acceptance, principals, pace.bulk if pace else nullcontext),
            principals=principals,
            version=version,
            documented=build_documented(),
        ),
        workers=workers,
        pings={"database": database.ping, "event_log": event_log.ping, "prices": load_prices},
        dispensable=frozenset(("database",)),
        on_start=on_start,
    )


def build_retention(
    *, database: Database, auth: Upstream, clock: Clock, settings: RetentionSettings
) -> Worker:
    """The loop that deletes records older than their account's retention; of several one at a time works.

    Args:
        auth: tells for how long records are kept.
    """
    retention = Retention(database, RemoteRules(auth), clock, timedelta(days=settings.grace_days))

    async def run(stop: asyncio.Event) -> None:
        interval = timedelta(seconds=settings.interval_s)
        await run_retention(retention, interval, timedelta(seconds=settings.first_after_s), stop)

    return Worker("retention", run)


def build_rating(
    *,
    database: Database,
    event_log: EventLog,
    pricebook: Pricebook,
    clock: Clock,
    settings: IngestSettings | None = None,
) -> Service:
    """A rater as a process of its own; several share the partitions of `usage.logged`.

    Args:
        pricebook: prices records; this service keeps it up to date.
    """
    settings = settings or IngestSettings()
    positions = PostgresPositions(database, SCHEMA.name)
    recorder = Recorder(
        database=database,
        event_log=event_log,
        positions=positions,
        pricebook=pricebook,
        watermark=None,
        clock=clock,
        follow_records=True,
    )
    return Service(
        name="rater",
        workers=[
            build_rater(recorder, event_log, positions, max_records=settings.rater_batch, pace=None),
            Worker("pricebook", lambda stop: pricebook.follow(event_log, stop)),
        ],
        pings={"database": database.ping, "event_log": event_log.ping},
    )
