"""Puts the receipts service together: the HTTP application, the issuer, and the signing key at start."""

from datetime import timedelta
from importlib.resources import files
from typing import Final

from services.receipts.declare import Declarations, Pricer
from services.receipts.issue import Issuer
from services.receipts.read import Reading
from services.receipts.routes.receipts import build_receipt_routes
from services.receipts.routes.verify import build_public_routes
from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import Signer
from services.receipts.verify import Verification
from services.receipts.worker import build_issuer
from shared.clock import Clock
from shared.event_log.consumer import Pace
from shared.event_log.port import EventLog
from shared.event_log.positions import PostgresPositions
from shared.postgres import Database, Schema
from shared.runtime.service import Service
from shared.web.app import build_app
from shared.web.principal import PrincipalVerifier

SCHEMA: Final = Schema("receipts", files("services.receipts") / "migrations")


def build_receipts(
    *,
    database: Database,
    event_log: EventLog,
    pricer: Pricer,
    principals: PrincipalVerifier,
    clock: Clock,
    version: str,
    pace: Pace | None = None,
    settings: ReceiptsSettings | None = None,
) -> Service:
    """The receipts service with its issuer in the same process.

    Its first step at start opens the signing key and raises `SigningKeyError` where there is no right one.

    Args:
        database: with this service's migrations applied by the time it starts.
        event_log: gives `usage.rated`, takes `receipts.issued`. It must not take its connections from
            `database`: receipts are announced while their transaction is open.
        pricer: prices what clients declare without a cost.
        principals: checks the gateway's token.
        clock: dates keys and receipts.
        version: of this program, for the OpenAPI document.
        pace: of the issuer, where it shares the process with requests.
        settings: of this service.
    """
    settings = settings or ReceiptsSettings()
    positions = PostgresPositions(database, SCHEMA.name)
    signer = Signer(database, settings, clock)
    issuer = Issuer(database=database, event_log=event_log, positions=positions, signer=signer, clock=clock)
    declarations = Declarations(
        database=database,
        event_log=event_log,
        signer=signer,
        pricer=pricer,
        clock=clock,
        max_skew=timedelta(seconds=settings.max_skew_s),
    )
    reading = Reading(database, timedelta(milliseconds=settings.issue_wait_ms))
    return Service(
        name="receipts",
        app=build_app(
            "LLMRing receipts",
            [
                *build_receipt_routes(declarations, reading),
                *build_public_routes(Verification(database)),
            ],
            principals=principals,
            version=version,
        ),
        workers=[build_issuer(issuer, event_log, positions, max_records=settings.issuer_batch, pace=pace)],
        pings={"database": database.ping, "event_log": event_log.ping},
        on_start=[signer.open],
    )
