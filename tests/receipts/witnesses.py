"""Witnesses at an address of this machine, good and bad; and an operator who rewrites the log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from services.receipts.store.log import LogRow, TileRow, find_log, insert_tiles
from services.witness.app import WitnessApp
from services.witness.cosign import Witness
from services.witness.evidence import Evidence
from services.witness.key_file import make_key
from services.witness.state import State
from shared.clock import SystemClock
from shared.proofs.tlog.checkpoint import Checkpoint
from shared.proofs.tlog.frontier import Frontier, join_hashes
from shared.proofs.tlog.note import VerifierKey
from shared.runtime.listen import listen
from shared.web.asgi import read_body, send_answer
from tests.receipts.house import House
from tests.servers.process import find_free_port


@dataclass
class AWitness:
    """A witness with files of its own, in this process."""

    folder: Path
    witness: Witness

    @property
    def key(self) -> VerifierKey:
        return self.witness.verifier

    @property
    def app(self) -> ASGIApp:
        return WitnessApp(self.witness)

    def evidence(self) -> list[str]:
        return sorted(each.name for each in (self.folder / "evidence").glob("*"))


def a_witness(folder: Path, name: str, logs: Sequence[VerifierKey]) -> AWitness:
    folder.mkdir(exist_ok=True)
    key = make_key(folder / "witness.key", name)
    state = State.create(folder / "witness.db", key.verifier)
    return AWitness(folder, Witness(key, state, logs, Evidence(folder / "evidence"), SystemClock()))


@contextlib.asynccontextmanager
async def at_address(app: ASGIApp) -> AsyncIterator[str]:
    """The URL at which an application is answered."""
    port = find_free_port()
    async with listen(app, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes a request and never answers, until the caller leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without an end."""
    await read_body(scope, receive, 1 << 20)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    with contextlib.suppress(OSError):
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": b"x" * 4096, "more_body": True})


def saying(status: int, body: bytes, content_type: bytes = b"text/plain") -> ASGIApp:
    """Answers always the same."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(scope, receive, 1 << 20)
        await send_answer(send, status, body, content_type=(b"content-type", content_type))

    return answer


async def log_keys(house: House) -> list[VerifierKey]:
    keys = (await house.call("GET", "/api/v1/receipts/verifier-keys.txt", account=None)).body.decode()
    return [VerifierKey.parse(line) for line in keys.split()]


async def keep_log(house: House) -> LogRow:
    async with house.database.connection() as connection:
        row = await find_log(connection)
    assert row is not None
    return row


async def rewind_log(house: House, row: LogRow) -> None:
    """What an operator with the database in his hands does to make newer receipts unhappen."""
    async with house.database.transaction() as connection:
        for table in ("log", "leaves", "tiles"):
            await connection.execute(f"ALTER TABLE receipts.{table} DISABLE TRIGGER USER")
        await connection.execute("DELETE FROM receipts.leaves WHERE leaf_index >= $1", row.tree_size)
        await connection.execute("DELETE FROM receipts.tiles WHERE (number + 1) * 256 > $1", row.tree_size)
        await connection.execute(
            "UPDATE receipts.log SET tree_size = $1, frontier = $2, checkpoint = $3",
            row.tree_size,
            row.frontier,
            row.checkpoint,
        )


async def rewrite_leaf(house: House, leaf_index: int) -> None:
    """The same with the signing key too: another leaf, tiles and frontier that fit it, signed anew."""
    async with house.database.transaction() as connection:
        for table in ("log", "leaves", "tiles"):
            await connection.execute(f"ALTER TABLE receipts.{table} DISABLE TRIGGER USER")
        await connection.execute(
            "UPDATE receipts.leaves SET leaf_hash = sha256('another') WHERE leaf_index = $1", leaf_index
        )
        rows = await connection.fetch("SELECT leaf_hash FROM receipts.leaves ORDER BY leaf_index")
        hashes = [row[0] for row in rows]
        frontier, completed = Frontier().append(hashes)
        await connection.execute("DELETE FROM receipts.tiles")
        tiles: list[Any] = [
            TileRow(0, n.number, root, join_hashes(hashes[n.number * 256 : (n.number + 1) * 256]))
            for n, root in completed
        ]
        await insert_tiles(connection, tiles)
        row = await find_log(connection)
        assert row is not None
        note = Checkpoint(row.origin, frontier.size, frontier.root).sign(house.signer.key).encode()
        await connection.execute(
            "UPDATE receipts.log SET frontier = $1, checkpoint = $2", frontier.encode(), note
        )


class Submitting:
    """What a house does for its witnesses, until the block ends; its issuer stands still."""

    def __init__(self, house: House) -> None:
        self._stop = asyncio.Event()
        self._workers = [
            each for each in house.service.workers if each.name.startswith(("checkpoints", "witness "))
        ]

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.ensure_future(worker.run(self._stop)) for worker in self._workers]

    async def __aexit__(self, *exc: object) -> None:
        self._stop.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 20)


async def until(condition: Any, seconds: float = 30) -> Any:
    """Wait for what a condition gives, once it is something."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):  # noqa: ASYNC110 - it is a row, or an answer, of others
            await asyncio.sleep(0.05)
    return found
