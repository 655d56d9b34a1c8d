"""`llmring-api serve`: every service in this process, with whatever is not given embedded; or one of them."""

import contextlib
import signal
from collections.abc import Iterator

import click
import uvloop

from services.cli.data_dir import hold_data_dir
from services.cli.embedded_postgres import run_embedded_postgres
from services.cli.process import START_ERRORS, run_one
from services.cli.settings import ProcessSettings, load_settings
from services.cli.signals import leave
from services.cli.version import VERSION
from services.separate import SERVICES
from shared.errors import UnavailableError
from shared.telemetry.export import export_telemetry
from shared.telemetry.logs import configure_logs


@click.command()
@click.argument("name", required=False, type=click.Choice(list(SERVICES)))
def serve(name: str | None) -> None:
    """Serve everything on one port, or one service by its NAME as a process of its own.

    Settings come from the environment: LLMRING_HOST, LLMRING_PORT, LLMRING_DATA_DIR, LLMRING_DATABASE_URL,
    LLMRING_KAFKA_BOOTSTRAP and more; docs/operations.md has them all.
    """
    settings = load_settings()
    if name is not None:
        run_one(name, SERVICES[name], settings)
        return
    from services.cli.embedded import serve_all

    configure_logs(settings.log_level, as_json=settings.logs_as_json)
    signal.signal(signal.SIGTERM, leave)  # until requests are served, then they are drained first
    with open_database_url(settings) as url:
        try:
            with export_telemetry("serve", VERSION):
                uvloop.run(serve_all(settings, url))
        except START_ERRORS as error:
            raise click.ClickException(str(error)) from error
        except UnavailableError as error:
            raise click.ClickException(f"{error.detail} {error.__cause__ or ''}".strip()) from error


@contextlib.contextmanager
def open_database_url(settings: ProcessSettings) -> Iterator[str]:
    """Hold the data directory, start Postgres in it unless another one is given, and tell its URL."""
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(hold_data_dir(settings.data_path))
        yield settings.database_url or stack.enter_context(run_embedded_postgres(data / "postgres"))
