"""The registry's versions, for commands that price records."""

import contextlib
from collections.abc import AsyncIterator

from services.cli.settings import ProcessSettings
from services.cli.version import VERSION
from services.registry.service import build_registry
from shared.clock import SystemClock
from shared.event_log.port import EventLog
from shared.postgres import open_database
from shared.pricebook.pricebook import Pricebook
from shared.web.client import AsgiUpstream
from shared.web.http_upstream import HttpUpstream
from shared.web.principal import PrincipalVerifier


@contextlib.asynccontextmanager
async def open_pricebook(
    settings: ProcessSettings, database_url: str, event_log: EventLog
) -> AsyncIterator[Pricebook]:
    """Prices from the registry service where its address is known, else from its tables.

    Raises:
        UnavailableError: the database is away.
    """
    async with contextlib.AsyncExitStack() as stack:
        if settings.registry_url:
            registry = HttpUpstream(settings.registry_url)
            stack.push_async_callback(registry.close)
            yield Pricebook(registry)
            return
        database = await open_database(database_url, application_name="llmring-api prices", max_size=2)
        stack.push_async_callback(database.close)
        clock = SystemClock()
        service = build_registry(
            database=database,
            event_log=event_log,
            principals=PrincipalVerifier((), clock),
            clock=clock,
            version=VERSION,
        )
        assert service.app is not None  # noqa: S101 - the registry answers HTTP
        yield Pricebook(AsgiUpstream(service.app))
