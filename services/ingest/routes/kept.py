"""`GET /internal/kept`: which single records of the caller's account are still kept. Receipts asks for it."""

from litestar import get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from services.ingest.presence import Presence
from services.ingest.retention import find_horizon
from shared.contracts.keys import Principal
from shared.contracts.records import KeptRecords
from shared.postgres import Database


def build_kept(database: Database, presence: Presence) -> HTTPRouteHandler:
    """The handler. The gateway has no route to it; it answers for the principal that it is shown."""

    @get("/internal/kept", include_in_schema=False)
    async def get_kept(principal: NamedDependency[Principal]) -> KeptRecords:
        horizon = await presence.ask(lambda: find_horizon(database, principal.account_id))
        return KeptRecords(deleted_before=horizon)

    return get_kept
