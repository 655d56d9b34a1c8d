"""Puts the registry service together."""

import asyncio
from pathlib import Path
from typing import Final
from uuid import UUID

from services.registry.announce import run_announcer
from services.registry.books import Books
from services.registry.changelog import Changelog
from services.registry.difference import Comparison
from services.registry.edition import EditionCache
from services.registry.library import Library
from services.registry.lookup import Lookup
from services.registry.model_view import ModelView
from services.registry.openapi import DecimalsAreNumbers
from services.registry.publish import Publication, publish_version
from services.registry.request import PublishRequest
from services.registry.routes.changes import build_changes
from services.registry.routes.models import build_models
from services.registry.routes.publishing import build_publishing
from services.registry.routes.versions import build_versions
from services.registry.seed import seed_history
from services.registry.settings import RegistrySettings
from shared.clock import Clock
from shared.event_log.port import EventLog
from shared.postgres import Database, Schema
from shared.runtime.service import Service, Worker
from shared.web.app import build_app
from shared.web.principal import PrincipalVerifier

SCHEMA: Final = Schema("registry", Path(__file__).parent / "migrations")


def build_registry(
    *,
    database: Database,
    event_log: EventLog,
    principals: PrincipalVerifier,
    clock: Clock,
    version: str,
    settings: RegistrySettings | None = None,
) -> Service:
    """The registry service; at its start it fills an empty registry with history.

    Args:
        version: of this program, for the OpenAPI document.
    """
    settings = settings or RegistrySettings()
    library = Library(database, settings)
    cache = EditionCache(settings.cached_bytes)

    async def seed() -> None:
        if settings.seed_history:
            await seed_history(database)

    async def publish(request: PublishRequest, published_by: UUID) -> Publication:
        return await publish_version(
            request,
            published_by=published_by,
            database=database,
            event_log=event_log,
            library=library,
            clock=clock,
        )

    async def announce(stop: asyncio.Event) -> None:
        await run_announcer(
            stop,
            database=database,
            event_log=event_log,
            clock=clock,
            every_s=settings.announce_every_s,
        )

    return Service(
        name="registry",
        app=build_app(
            "LLMRing registry",
            [
                *build_versions(Lookup(library, clock, cache)),
                *build_changes(Changelog(library, database, cache), Comparison(library, clock, cache)),
                *build_models(ModelView(library, database, clock, cache), Books(library, clock, cache)),
                *build_publishing(publish, settings.max_publish_bytes),
            ],
            service="registry",
            principals=principals,
            version=version,
            schemas=[DecimalsAreNumbers()],
        ),
        workers=[Worker("announcer", announce)],
        pings={"database": database.ping, "event_log": event_log.ping},
        on_start=[seed],
    )
