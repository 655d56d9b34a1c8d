"""Puts the receipts service together: the HTTP application, the issuer, and the signing key at start."""

from datetime import timedelta
from importlib.resources import files
from typing import Final

from services.receipts.cosignatures import Cosignatures
from services.receipts.declare import Declarations
from services.receipts.edge import CHECK, Edge
from services.receipts.examine import Examination
from services.receipts.issue import Issuer
from services.receipts.llmring_1_0 import OldForm
from services.receipts.log import ReceiptLog
from services.receipts.once import Desk
from services.receipts.policy import parse_policy
from services.receipts.prove import Proving
from services.receipts.read import Reading
from services.receipts.routes.bundle import build_bundle_routes
from services.receipts.routes.examine import build_examination_routes
from services.receipts.routes.log import build_log_routes, build_proof_route
from services.receipts.routes.receipts import build_receipt_routes
from services.receipts.routes.statement import build_statement_routes
from services.receipts.routes.verify import build_public_routes
from services.receipts.routes.witnesses import build_witness_routes
from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import Signer
from services.receipts.statement import Statements
from services.receipts.submit import Submission
from services.receipts.verify import Verification
from services.receipts.worker import build_adopter, build_issuer, build_submitters
from shared.clock import Clock
from shared.event_log.consumer import Pace
from shared.event_log.port import EventLog
from shared.event_log.positions import PostgresPositions
from shared.postgres import Database, Schema
from shared.pricebook.pricebook import Pricebook
from shared.runtime.service import Service, Worker
from shared.web.app import build_app
from shared.web.client import Upstream
from shared.web.principal import PrincipalVerifier

SCHEMA: Final = Schema("receipts", files("services.receipts") / "migrations")


def build_receipts(
    *,
    database: Database,
    event_log: EventLog,
    pricebook: Pricebook,
    principals: PrincipalVerifier,
    clock: Clock,
    version: str,
    pace: Pace | None = None,
    alone: bool = False,
    ingest: Upstream | None = None,
    settings: ReceiptsSettings | None = None,
) -> Service:
    """The receipts service, as a rule with its issuer in the same process.

    Its first step at start opens the signing key and raises `SigningKeyError` where there is no right one.

    Args:
        database: with this service's migrations applied by the time it starts.
        event_log: gives `usage.rated`, takes `receipts.issued`. It must not take its connections from
            `database`: receipts are announced while their transaction is open.
        pricebook: prices what clients declare without a cost.
        principals: checks the gateway's token.
        clock: dates keys and receipts.
        version: of this program, for the OpenAPI document.
        pace: of the issuer, where it shares the process with requests.
        alone: this service is a process of its own. Then issuers are others (`build_issuing`), and it keeps
            the pricebook up to date itself.
        ingest: has the recorded rows, for audits; None where it cannot be asked.
        settings: of this service.
    """
    settings = settings or ReceiptsSettings()
    signer = Signer(database, settings, clock)
    log, edge = ReceiptLog(database, signer, settings.log_origin, clock), Edge(database)
    desk = Desk(database=database, event_log=event_log, signer=signer, log=log, clock=clock)
    declarations = Declarations(
        desk=desk,
        pricebook=pricebook,
        clock=clock,
        max_skew=timedelta(seconds=settings.max_skew_s),
    )
    reading = Reading(database, timedelta(milliseconds=settings.issue_wait_ms))
    policy = parse_policy(settings)
    proving, verification = Proving(database), Verification(database)
    cosignatures = Cosignatures(database, proving, policy)
    submission = Submission(database, proving, cosignatures, policy)
    examination = Examination(
        database=database, proving=proving, pricebook=pricebook, ingest=ingest, clock=clock
    )
    return Service(
        name="receipts",
        app=build_app(
            "LLMRing receipts",
            [
                *build_receipt_routes(
                    declarations, Statements(database, desk), reading, OldForm(database, signer, clock)
                ),
                *build_public_routes(verification),
                *build_log_routes(proving, cosignatures),
                build_proof_route(proving, cosignatures),
                *build_bundle_routes(reading, proving, verification),
                *build_statement_routes(reading),
                *build_examination_routes(examination),
                *build_witness_routes(cosignatures),
            ],
            service="receipts",
            principals=principals,
            version=version,
        ),
        workers=[
            *(
                [Worker("pricebook", lambda stop: pricebook.follow(event_log, stop))]
                if alone
                else _issuing(
                    database=database,
                    event_log=event_log,
                    signer=signer,
                    log=log,
                    clock=clock,
                    pace=pace,
                    settings=settings,
                )
            ),
            *(build_submitters(submission, policy) if policy.peers else ()),
            Worker("log-edge", edge.run),
        ],
        pings={"database": database.ping, "event_log": event_log.ping, CHECK: edge.ping},
        dispensable=frozenset((CHECK,)),  # what was issued can be read and checked all the same
        on_start=[signer.open, log.open],
        on_stop=[submission.close],
    )


def build_issuing(
    *,
    database: Database,
    event_log: EventLog,
    clock: Clock,
    settings: ReceiptsSettings,
) -> Service:
    """An issuer as a process of its own; several share the partitions of `usage.rated`.

    Its first step at start opens the signing key, as that of `build_receipts` does.
    """
    signer = Signer(database, settings, clock)
    log, edge = ReceiptLog(database, signer, settings.log_origin, clock), Edge(database)
    return Service(
        name="issuer",
        workers=[
            *_issuing(
                database=database,
                event_log=event_log,
                signer=signer,
                log=log,
                clock=clock,
                pace=None,
                settings=settings,
            ),
            Worker("log-edge", edge.run),
        ],
        pings={"database": database.ping, "event_log": event_log.ping, CHECK: edge.ping},
        dispensable=frozenset((CHECK,)),  # no restart mends it
        on_start=[signer.open, log.open],
    )


def _issuing(
    *,
    database: Database,
    event_log: EventLog,
    signer: Signer,
    log: ReceiptLog,
    clock: Clock,
    pace: Pace | None,
    settings: ReceiptsSettings,
) -> list[Worker]:
    positions = PostgresPositions(database, SCHEMA.name)
    issuer = Issuer(
        database=database, event_log=event_log, positions=positions, signer=signer, log=log, clock=clock
    )
    return [
        build_issuer(issuer, event_log, positions, max_records=settings.issuer_batch, pace=pace),
        build_adopter(log),
    ]
