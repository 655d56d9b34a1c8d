"""All services in this one process, on one public port."""

import contextlib
from pathlib import Path

import click
import msgspec

from services.all_in_one import SCHEMAS, build_deployment
from services.auth.operator import ensure_operator
from services.cli.event_log import build_trimmers, open_event_log
from services.cli.public_port import listen_publicly
from services.cli.settings import ProcessSettings
from services.cli.version import VERSION
from services.ingest.claim_cache import ClaimCache
from services.ingest.firsts import MemoryFirsts
from services.redis_shares import build_claim_cache
from shared.clock import SystemClock
from shared.contracts.topics import TOPICS
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.event_log.postgres import forget_members
from shared.postgres import migrate, open_database
from shared.redis import Redis, open_redis
from shared.runtime.front import MetricsOnly
from shared.runtime.listen import listen
from shared.runtime.run import run_services
from shared.runtime.service import Service
from shared.telemetry.export import render_metrics

OPERATOR_KEY_FILE = "operator.key"
MAIL_FOLDER = "mail"


async def serve_all(settings: ProcessSettings, url: str) -> None:
    """Run everything that a deployment has, with the database at `url`, until told to stop."""
    await migrate(url, [EVENT_LOG_SCHEMA, *SCHEMAS])
    if settings.database_url is None:
        await forget_members(url)
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        database = await open_database(url, application_name="llmring-api", max_size=16)
        stack.push_async_callback(database.close)
        event_log = await open_event_log(settings, url)
        stack.push_async_callback(event_log.close)
        redis = await open_redis(settings.redis_url) if settings.redis_url else None
        if redis is not None:
            stack.push_async_callback(redis.close)
        if settings.metrics_port is not None:
            metrics = MetricsOnly(render_metrics)
            await stack.enter_async_context(listen(metrics, settings.host, settings.metrics_port))
        await event_log.ensure_topics(TOPICS)
        deployment = build_deployment(
            database=database,
            event_log=event_log,
            clock=clock,
            version=VERSION,
            auth_settings=msgspec.structs.replace(
                settings.auth, mail_folder=str(settings.data_path / MAIL_FOLDER)
            ),
            gateway_settings=settings.gateway,
            receipts_settings=settings.receipts,
            webhooks_settings=settings.webhooks,
            retention_settings=settings.retention,
            claim_cache=_claim_cache(settings, redis),
            redis=redis,
            metrics=render_metrics if settings.public_metrics else None,
        )
        key_file = settings.data_path / OPERATOR_KEY_FILE
        new_key = await ensure_operator(database, clock, key_file)
        trimming = Service(name="trimming", workers=build_trimmers(settings, database))
        await run_services(
            (*deployment.services, trimming),
            listening=listen_publicly(deployment.app, settings),
            on_ready=lambda: _announce(settings.address, key_file, new_key),
        )


def _claim_cache(settings: ProcessSettings, redis: Redis | None) -> ClaimCache | None:
    if settings.kafka_bootstrap is None:
        return None  # the event log is in the database: without it nothing can be accepted
    return MemoryFirsts() if redis is None else build_claim_cache(redis)


def _announce(address: str, key_file: Path, new_key: str | None) -> None:
    click.echo(f"\nLLMRing API {VERSION} answers at {address}  (documentation: {address}/docs)")
    if new_key is None:
        if key_file.exists():
            click.echo(f"The operator's key is in {key_file}\n")
        return
    click.echo(f"First start. The operator's key is shown once, and kept in {key_file}:\n")
    click.echo(f"  export LLMRING_SERVER_URL={address}")
    click.echo(f"  export LLMRING_API_KEY={new_key}\n")
