"""Puts the ingest service together: the HTTP application, the rater and the pricebook."""

from datetime import timedelta
from pathlib import Path

from services.ingest.accept import Acceptance
from services.ingest.claim import Claims
from services.ingest.record import RATER, Recorder
from services.ingest.routes.log import build_documented, build_fast_lanes
from services.ingest.routes.reads import build_reads
from services.ingest.settings import IngestSettings
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
    pace: RequestsFirst | None = None,
    settings: IngestSettings | None = None,
) -> Service:
    """The ingest service with its rater in the same process.

    Args:
        pricebook: prices records; this service keeps it up to date.
        version: of this program, for the OpenAPI document.
        pace: of the rater, where it shares the process with requests.
    """
    settings = settings or IngestSettings()
    positions = PostgresPositions(database, SCHEMA.name)

    async def load_applied() -> dict[int, int]:
        return await positions.load(RATER, USAGE_LOGGED, range(TOPICS[USAGE_LOGGED]))

    async def note_start() -> None:
        watermark.started(await event_log.ends(USAGE_LOGGED))

    watermark = Watermark(
        load_applied, timedelta(seconds=settings.watermark_s), pace.hurry if pace else lambda: None
    )
    acceptance = Acceptance(
        event_log=event_log,
        pricebook=pricebook,
        claims=Claims(database),
        watermark=watermark,
        clock=clock,
        max_skew=timedelta(seconds=settings.max_skew_s),
    )
    recorder = Recorder(
        database=database,
        event_log=event_log,
        positions=positions,
        pricebook=pricebook,
        watermark=watermark,
        clock=clock,
    )
    reads = build_reads(database, watermark, clock, timedelta(milliseconds=settings.read_wait_ms))
    return Service(
        name="ingest",
        app=build_app(
            "LLMRing usage",
            reads,
            lanes=build_fast_lanes(acceptance, principals),
            principals=principals,
            version=version,
            documented=build_documented(),
        ),
        workers=[
            build_rater(recorder, event_log, positions, max_records=settings.rater_batch, pace=pace),
            Worker("pricebook", lambda stop: pricebook.follow(event_log, stop)),
        ],
        pings={"database": database.ping, "event_log": event_log.ping},
        on_start=[note_start],
    )
