"""`llmring-api serve`: every service in this process, with whatever is not given embedded."""

import contextlib
import importlib.metadata
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol, TypeVar

import click
import uvloop

from services.all_in_one import SCHEMAS, build_deployment
from services.auth.operator import ensure_operator
from services.auth.settings import AuthSettings
from services.cli.data_dir import hold_data_dir
from services.cli.embedded_postgres import run_embedded_postgres
from services.cli.settings import ProcessSettings, load_settings
from services.gateway.settings import GatewaySettings
from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import SigningKeyError
from shared.clock import SystemClock
from shared.contracts.topics import TOPICS
from shared.errors import UnavailableError
from shared.event_log.kafka import open_kafka_event_log
from shared.event_log.port import EventLog
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.event_log.postgres import forget_members, open_postgres_event_log
from shared.postgres import MigrationError, migrate, open_database
from shared.runtime.run import ListenError, run_services
from shared.telemetry.logs import configure_logs

VERSION = importlib.metadata.version("llmring-api")
OPERATOR_KEY_FILE = "operator.key"


class Closable(Protocol):
    """What is let go of at the end."""

    async def close(self) -> None:
        """Let go of connections."""
        ...


R = TypeVar("R", bound=Closable)


@click.command()
def serve() -> None:
    """Serve everything on one port.

    Settings come from the environment: LLMRING_HOST, LLMRING_PORT, LLMRING_DATA_DIR, LLMRING_DATABASE_URL,
    LLMRING_KAFKA_BOOTSTRAP and more; docs/operations.md has them all.
    """
    settings = load_settings()
    configure_logs(settings.log_level, as_json=settings.logs_as_json)
    signal.signal(signal.SIGTERM, _leave)  # until requests are served, then they are drained first
    with open_database_url(settings) as url:
        try:
            uvloop.run(_serve(settings, url))
        except (MigrationError, SigningKeyError, ListenError) as error:
            raise click.ClickException(str(error)) from error
        except UnavailableError as error:
            raise click.ClickException(f"{error.detail} {error.__cause__ or ''}".strip()) from error


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal.signal has it
    """End the start in order: what has been started is stopped again."""
    raise SystemExit(0)


@contextlib.contextmanager
def open_database_url(settings: ProcessSettings) -> Iterator[str]:
    """Hold the data directory, start Postgres in it unless another one is given, and tell its URL."""
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(hold_data_dir(settings.data_path))
        yield settings.database_url or stack.enter_context(run_embedded_postgres(data / "postgres"))


async def _serve(settings: ProcessSettings, url: str) -> None:
    await migrate(url, [EVENT_LOG_SCHEMA, *SCHEMAS])
    if settings.database_url is None:
        await forget_members(url)
    clock = SystemClock()
    async with (
        _closing(await open_database(url, application_name="llmring-api", max_size=16)) as database,
        _closing(await _open_event_log(settings, url)) as event_log,
    ):
        await event_log.ensure_topics(TOPICS)
        deployment = build_deployment(
            database=database,
            event_log=event_log,
            clock=clock,
            version=VERSION,
            auth_settings=AuthSettings(public_url=settings.public_url or settings.address),
            gateway_settings=GatewaySettings(
                anonymous_requests_per_minute=settings.anonymous_requests_per_minute,
                trusted_proxies=settings.trusted_proxies,
            ),
            receipts_settings=ReceiptsSettings(
                data_dir=str(settings.data_path), signing_seed=settings.receipts_signing_seed
            ),
        )
        key_file = settings.data_path / OPERATOR_KEY_FILE
        new_key = await ensure_operator(database, clock, key_file)
        await run_services(
            deployment.services,
            app=deployment.app,
            host=settings.host,
            port=settings.port,
            on_ready=lambda: _announce(settings.address, key_file, new_key),
        )


async def _open_event_log(settings: ProcessSettings, url: str) -> EventLog:
    if settings.kafka_bootstrap:
        return await open_kafka_event_log(settings.kafka_bootstrap)
    return await open_postgres_event_log(url)


@contextlib.asynccontextmanager
async def _closing(resource: R) -> AsyncIterator[R]:
    try:
        yield resource
    finally:
        await resource.close()


def _announce(address: str, key_file: Path, new_key: str | None) -> None:
    click.echo(f"\nLLMRing API {VERSION} answers at {address}  (documentation: {address}/docs)")
    if new_key is None:
        if key_file.exists():
            click.echo(f"The operator's key is in {key_file}\n")
        return
    click.echo(f"First start. The operator's key is shown once, and kept in {key_file}:\n")
    click.echo(f"  export LLMRING_SERVER_URL={address}")
    click.echo(f"  export LLMRING_API_KEY={new_key}\n")
