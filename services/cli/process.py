"""One service or one consumer as a process of its own: `serve NAME`, `worker NAME`."""

import asyncio
import functools
import logging
import signal
from base64 import b64decode
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

import click
import uvloop

from services.cli.event_log import build_trimmers, open_event_log
from services.cli.public_port import listen_publicly
from services.cli.settings import ProcessSettings
from services.cli.signals import leave
from services.cli.version import VERSION
from services.receipts.signer import SigningKeyError
from services.separate import Process, Surroundings
from services.webhooks.key_ring import SealingKeyError
from shared.clock import SystemClock
from shared.contracts.topics import TOPICS
from shared.errors import NotFoundError, UnavailableError
from shared.event_log.port import EventLog
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.postgres import (
    Database,
    DatabaseToCome,
    MigrationError,
    Schema,
    list_pending,
    open_connection,
    open_database,
)
from shared.proofs.signing import SigningKey
from shared.redis import Redis, open_redis
from shared.runtime.front import Front, MetricsOnly
from shared.runtime.listen import ListenError, listen
from shared.runtime.run import run_process
from shared.runtime.service import Service
from shared.runtime.tls import CertificateError
from shared.runtime.waiting import wait_for
from shared.settings import SettingsError
from shared.telemetry.export import export_telemetry, render_metrics
from shared.telemetry.logs import configure_logs
from shared.web.principal import PrincipalMint, PrincipalVerifier

POOL_SIZE: Final = 16
PATIENCE: Final = timedelta(seconds=5)
"""After so long a process that can do without Postgres goes on without it."""
STATEMENT_TIMEOUT: Final = timedelta(seconds=10)
"""Far more than any statement takes. A connection that the network has forgotten costs so long, once."""

_log = logging.getLogger(__name__)


START_ERRORS: Final = (
    MigrationError,
    SigningKeyError,
    SealingKeyError,
    ListenError,
    CertificateError,
    SettingsError,
)
"""A process cannot start by them; their texts say what a person can do."""


def run_one(name: str, process: Process, settings: ProcessSettings) -> None:
    """Run a process until it is told to end.

    Raises:
        click.ClickException: a setting that it needs is missing or wrong; a start that cannot succeed.
    """
    configure_logs(settings.log_level, as_json=settings.logs_as_json)
    signal.signal(signal.SIGTERM, leave)
    _require(settings, process.needs)
    if settings.kafka_bootstrap is None:
        _require(settings, ("database_url",))  # the event log is there then
    around = functools.partial(
        Surroundings,
        urls=settings.urls,
        mint=_mint(settings) if "principal_seed" in process.needs else None,
        principals=PrincipalVerifier(_public_keys(settings), SystemClock()),
        clock=SystemClock(),
        version=VERSION,
        public_metrics=render_metrics if settings.public_metrics else None,
        build_trimmers=functools.partial(build_trimmers, settings),
        auth_settings=settings.auth,
        gateway_settings=settings.gateway,
        receipts_settings=settings.receipts,
        webhooks_settings=settings.webhooks,
        retention_settings=settings.retention,
    )

    async def prepare(stack: AsyncExitStack) -> Service:
        if settings.metrics_port is not None:
            metrics = MetricsOnly(render_metrics)
            await stack.enter_async_context(listen(metrics, settings.host, settings.metrics_port))
        opened = _Opener(stack, settings, name)
        return await process.build(
            around(
                stack=stack,
                open_database=opened.open_database,
                open_dispensable_database=opened.open_dispensable_database,
                open_event_log=opened.open_event_log,
                open_redis=opened.open_redis,
            )
        )

    is_public = name == "gateway"
    front = Front(render_metrics, public=is_public)
    try:
        listening = (
            listen_publicly(front, settings) if is_public else listen(front, settings.host, settings.port)
        )
        with export_telemetry(name, VERSION):
            uvloop.run(run_process(front, prepare, listening=listening))
    except START_ERRORS as error:
        raise click.ClickException(str(error)) from error


class _Opener:
    """Opens what a process needs, as soon as it is there."""

    def __init__(self, stack: AsyncExitStack, settings: ProcessSettings, name: str) -> None:
        self._stack = stack
        self._settings = settings
        self._application_name = f"llmring-{name}"

    async def open_database(self, schema: Schema) -> Database:
        """A pool for a schema that this program's migrations have made."""
        database = await self._wait_for_database(schema)
        self._stack.push_async_callback(database.close)
        return database

    async def open_dispensable_database(self, schema: Schema) -> Database:
        """The same; where Postgres is away, one that is unavailable until it is there and migrated."""
        url = str(self._settings.database_url)
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await wait_for("Postgres", functools.partial(_require_answer, url))
        except TimeoutError:
            _log.warning("going on without Postgres until it is there")
            coming = DatabaseToCome(url, self._wait_whatever_happens(schema))
            self._stack.push_async_callback(coming.close)
            return coming
        return await self.open_database(schema)

    async def _wait_whatever_happens(self, schema: Schema) -> Database:
        """Open it in the background, where nobody is there to be told of a wrong password, for instance."""
        while True:
            try:
                return await self._wait_for_database(schema)
            except Exception:
                _log.exception("Postgres is there, and cannot be used")
                await asyncio.sleep(PATIENCE.total_seconds())

    async def _wait_for_database(self, schema: Schema) -> Database:
        url = str(self._settings.database_url)
        await wait_for("Postgres and its migrations", functools.partial(_require_migrated, url, [schema]))
        return await wait_for(
            "Postgres",
            lambda: open_database(
                url,
                application_name=self._application_name,
                min_size=0,
                max_size=POOL_SIZE,
                statement_timeout=STATEMENT_TIMEOUT,
            ),
        )

    async def open_event_log(self) -> EventLog:
        """The event log, once all topics are there."""
        url = self._settings.database_url
        if self._settings.kafka_bootstrap is None and url is not None:
            await wait_for(
                "Postgres and its migrations", functools.partial(_require_migrated, url, [EVENT_LOG_SCHEMA])
            )
        event_log = await wait_for("the event log", lambda: open_event_log(self._settings, url or ""))
        self._stack.push_async_callback(event_log.close)
        await wait_for("the topics", functools.partial(_require_topics, event_log))
        return event_log

    async def open_redis(self) -> Redis:
        """Redis, whether it is there or not."""
        redis = await open_redis(str(self._settings.redis_url))
        self._stack.push_async_callback(redis.close)
        return redis


async def _require_answer(url: str) -> None:
    connection = await open_connection(url, application_name="llmring-start")
    connection.terminate()


async def _require_migrated(url: str, schemas: list[Schema]) -> None:
    pending = await list_pending(url, schemas)
    if pending:
        raise UnavailableError(f"{', '.join(pending)} is not applied yet: run `llmring-api migrate`.")


async def _require_topics(event_log: EventLog) -> None:
    for topic in TOPICS:
        try:
            await event_log.ends(topic)
        except NotFoundError as error:
            raise UnavailableError(f"{error.detail} Run `llmring-api migrate`.") from None


def _require(settings: ProcessSettings, names: tuple[str, ...]) -> None:
    missing = [f"LLMRING_{name.upper()} is required" for name in names if not getattr(settings, name)]
    if missing:
        raise click.ClickException("\n".join(missing))


def _mint(settings: ProcessSettings) -> PrincipalMint:
    return PrincipalMint(
        SigningKey.from_seed(_decode("LLMRING_PRINCIPAL_SEED", settings.principal_seed)), SystemClock()
    )


def _public_keys(settings: ProcessSettings) -> list[bytes]:
    return [_decode("LLMRING_PRINCIPAL_PUBLIC_KEYS", each) for each in settings.principal_public_keys]


def _decode(name: str, text: str) -> bytes:
    """Raises click.ClickException: it is not base64 of 32 bytes."""
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        decoded = b""
    if len(decoded) != 32:
        raise click.ClickException(f"{name}: must be standard base64 of 32 bytes")
    return decoded
