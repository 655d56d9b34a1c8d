"""`llmring-api witness`: cosign the checkpoints of logs, as somebody whom their operators do not control."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import uvloop

from services.witness.app import WitnessApp
from services.witness.cosign import RefusedError, Witness
from services.witness.evidence import Evidence
from services.witness.follow import Follower, keep_following
from services.witness.key_file import WitnessKeyError, make_key, read_key
from services.witness.state import State
from shared.clock import SystemClock
from shared.errors import UnavailableError
from shared.proofs.tlog.note import NoteError, VerifierKey
from shared.runtime.listen import ListenError, listen
from shared.runtime.run import run_services
from shared.runtime.service import Service
from shared.telemetry.logs import configure_logs
from shared.web.outbound import Outbound

CONTRADICTED: Final = 1
AWAY: Final = 3
_TIMEOUT: Final = timedelta(seconds=20)
_MAX_ANSWER_BYTES: Final = 256 * 1024

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def witness() -> None:
    """Cosign the checkpoints of receipts' logs: only where a log has grown, and nothing in it was changed."""


_KEY_FILE = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LLMRING_WITNESS_KEY_FILE",
    default=Path("witness.key"),
    show_default=True,
    help="the private key",
)
_STATE_FILE = click.option(
    "--state-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LLMRING_WITNESS_STATE_FILE",
    default=Path("witness.db"),
    show_default=True,
    help="what the key has cosigned",
)
_EVIDENCE = click.option(
    "--evidence",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LLMRING_WITNESS_EVIDENCE",
    default=Path("evidence"),
    show_default=True,
    help="the folder for what a log contradicts itself by",
)
_LOGS = click.option(
    "--log",
    "logs",
    multiple=True,
    required=True,
    envvar="LLMRING_WITNESS_LOGS",
    help="a verifier key of a log, from /api/v1/receipts/verifier-keys.txt; several for several keys or logs",
)


def _of_a_witness(command: F) -> F:
    for option in (_LOGS, _EVIDENCE, _STATE_FILE, _KEY_FILE):
        command = option(command)
    return command


@witness.command()
@click.option("--name", required=True, help="of the witness in its cosignatures, such as witness.example.org")
@_KEY_FILE
@_STATE_FILE
def key(name: str, key_file: Path, state_file: Path) -> None:
    """Make a key with its empty state, and print the verifier key that others need."""
    try:
        State.require_none(state_file)
        made = make_key(key_file, name)
        try:
            State.create(state_file, made.verifier)
        except WitnessKeyError:
            key_file.unlink()  # nobody has seen it, and it is of no use without its state
            raise
    except WitnessKeyError as error:
        raise click.ClickException(str(error)) from None
    click.echo(made.verifier.text)


@witness.command()
@_of_a_witness
@click.option("--host", envvar="LLMRING_HOST", default="127.0.0.1", show_default=True)
@click.option("--port", envvar="LLMRING_PORT", type=click.IntRange(1, 65535), default=8090, show_default=True)
def serve(
    *, logs: tuple[str, ...], evidence: Path, state_file: Path, key_file: Path, host: str, port: int
) -> None:
    """Answer POST /add-checkpoint (C2SP tlog-witness)."""
    configure_logs("info", as_json=not sys.stderr.isatty())
    opened = _open(logs, evidence, state_file, key_file)
    app = WitnessApp(opened)
    try:
        uvloop.run(
            run_services(
                (Service(name="witness", app=app),),
                listening=listen(app, host, port),
                on_ready=lambda: click.echo(f"{opened.verifier.text} answers at http://{host}:{port}"),
            )
        )
    except ListenError as error:
        raise click.ClickException(str(error)) from None


@witness.command()
@click.argument("base_url")
@_of_a_witness
@click.option("--every", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="seconds")
@click.option("--once", is_flag=True, help="look once and end: for cron")
def follow(
    base_url: str,
    *,
    logs: tuple[str, ...],
    evidence: Path,
    state_file: Path,
    key_file: Path,
    every: float,
    once: bool,
) -> None:
    """Ask the deployment at BASE_URL for its checkpoints, and bring it the cosignatures.

    Exits with 1 as soon as the log is not the one that was cosigned before; with 3 where --once could not
    reach the deployment.
    """
    configure_logs("info", as_json=not sys.stderr.isatty())
    opened = _open(logs, evidence, state_file, key_file)
    try:
        uvloop.run(_follow(opened, base_url, None if once else every))
    except RefusedError as refused:
        kept = f" Evidence: {refused.evidence}" if refused.evidence else ""
        click.echo(f"REFUSED: {refused}.{kept}", err=True)
        sys.exit(CONTRADICTED)
    except UnavailableError as error:
        click.echo(error.detail, err=True)
        sys.exit(AWAY)
    except sqlite3.Error as error:
        raise click.ClickException(f"{state_file}: {error}") from None


async def _follow(opened: Witness, base_url: str, every: float | None) -> None:
    outbound = Outbound(timeout=_TIMEOUT, max_bytes=_MAX_ANSWER_BYTES)
    follower = Follower(opened, base_url, outbound)
    try:
        if every is None:
            click.echo(f"cosigned {await follower.follow()} leaves")
            return
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await keep_following(follower, every, stop)
    finally:
        await outbound.close()


def _open(logs: tuple[str, ...], evidence: Path, state_file: Path, key_file: Path) -> Witness:
    """Raises click.ClickException: a setting will not do."""
    try:
        own = read_key(key_file)
        keys = [VerifierKey.parse(each) for each in logs]
        return Witness(own, State(state_file, own.verifier), keys, Evidence(evidence), SystemClock())
    except (WitnessKeyError, NoteError) as error:
        raise click.ClickException(str(error)) from None
