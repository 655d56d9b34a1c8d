"""`make bench-proofs`: proofs from a tree of ten million leaves, asked of the receipts service over HTTP.

The product's own log makes the tree. Most leaves are hashes without a receipt; among them, all over the
tree, are receipts that the product's issuer signs. Every proof is checked, outside the time that it took.
"""

import argparse
import base64
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import uvloop

from bench.receipts_issue import ACCOUNTS, a_rated
from bench.servers import run_postgres, run_server
from services.receipts.issue import Issuer
from services.receipts.log import Leaf, ReceiptLog
from services.receipts.service import SCHEMA
from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import Signer
from services.receipts.store.log import find_log
from shared.clock import SystemClock
from shared.contracts.keys import SCOPE_READ, Principal
from shared.contracts.topics import TOPICS, USAGE_RATED
from shared.event_log.port import Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.event_log.postgres import open_postgres_event_log
from shared.postgres import Database, migrate, open_database
from shared.proofs.signing import SigningKey, decode_base64, encode_base64, new_seed
from shared.proofs.tlog.frontier import Frontier
from shared.proofs.tlog.proofs import verify_consistency, verify_inclusion
from shared.web.principal import PRINCIPAL_HEADER, PrincipalMint
from tests.servers.process import find_free_port

PATH: Final = "/api/v1/receipts"
NEEDED_P99_MS: Final = 5.0
_WRITTEN_AT_ONCE: Final = 25_000


class Placed(NamedTuple):
    """A receipt that has a leaf in the tree."""

    account_id: UUID
    receipt_id: UUID
    leaf_hash: bytes


class Planted(NamedTuple):
    """What is known of the tree: its receipts, and roots that it had at some sizes."""

    receipts: list[Placed]
    roots: dict[int, bytes]


async def plant(url: str, seed: bytes, leaves: int, receipts: int, chance: random.Random) -> Planted:
    """Make the tree, with a receipt at its end after each stretch of bare leaves."""
    await migrate(url, [EVENT_LOG_SCHEMA, SCHEMA])
    database = await open_database(url, application_name="bench")
    event_log = await open_postgres_event_log(url)
    await event_log.ensure_topics(TOPICS)
    clock = SystemClock()
    signer = Signer(database, ReceiptsSettings(signing_seed=encode_base64(seed)), clock)
    log = ReceiptLog(database, signer, "bench.example/log", clock)
    await signer.open()
    await log.open()
    issuer = Issuer(
        database=database,
        event_log=event_log,
        positions=PostgresPositions(database, SCHEMA.name),
        signer=signer,
        log=log,
        clock=clock,
    )
    roots: dict[int, bytes] = {}
    bounds = [0, *sorted(chance.sample(range(1, leaves - 1), receipts - 1)), leaves]
    for number, (start, end) in enumerate(pairwise(bounds)):
        await append_bare(database, log, start, end - 1)
        record = StoredRecord(USAGE_RATED, 0, number, b"k", a_rated(number), (), clock.now())
        await issuer.issue_receipts(Slice(USAGE_RATED, 0, (record,), number))
        async with database.connection() as connection:
            row = await find_log(connection)
        assert row is not None
        assert row.tree_size == end
        roots[end] = Frontier.decode(end, row.frontier).root
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT account_id, receipt_id, leaf_hash FROM receipts.leaves JOIN receipts.receipts"
            " USING (account_id, receipt_id)"
        )
        await connection.execute("VACUUM ANALYZE receipts.leaves, receipts.tiles, receipts.receipts")
    await event_log.close()
    await database.close()
    return Planted([Placed(*row.values()) for row in rows], roots)


async def append_bare(database: Database, log: ReceiptLog, start: int, end: int) -> None:
    """Append leaves of no receipt, whose hashes and names come from their numbers."""
    for first in range(start, end, _WRITTEN_AT_ONCE):
        leaves = [
            Leaf(
                sha256(number.to_bytes(8, "big")).digest(),
                ACCOUNTS[number % len(ACCOUNTS)],
                UUID(int=(number << 64) | 1),
            )
            for number in range(first, min(first + _WRITTEN_AT_ONCE, end))
        ]
        async with database.transaction() as connection:
            await log.append(connection, leaves)


@contextmanager
def run_receipts(
    url: str, work: Path, seed: bytes, principals: bytes
) -> Iterator[http.client.HTTPConnection]:
    """The receipts service as production runs it, just started, and a connection to it."""
    port = find_free_port()
    settings = {
        "LLMRING_DATABASE_URL": url,
        "LLMRING_PORT": str(port),
        "LLMRING_DATA_DIR": f"{work}/data",
        "LLMRING_PRINCIPAL_PUBLIC_KEYS": base64.b64encode(principals).decode(),
        "LLMRING_REGISTRY_URL": "http://127.0.0.1:1",  # nobody there: proofs need no prices
        "LLMRING_RECEIPTS_SIGNING_SEED": base64.b64encode(seed).decode(),
    }
    program = [sys.executable, "-m", "services"]
    subprocess.run([*program, "migrate"], check=True, env={**os.environ, **settings}, stdout=subprocess.PIPE)
    address = f"http://127.0.0.1:{port}"
    with run_server([*program, "serve", "receipts"], settings, address, work / "log", health="/health/ready"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.connect()
        yield connection
        connection.close()


class Asking:
    """Asks, times and checks.

    Args:
        connection: to the service.
        mint: makes what the gateway would send along.
    """

    def __init__(self, connection: http.client.HTTPConnection, mint: PrincipalMint) -> None:
        self._connection = connection
        # As a gateway does, which uses a token for minutes.
        self._tokens = {
            account_id: mint.mint(Principal(account_id=account_id, key_id=uuid4(), scopes=(SCOPE_READ,)))
            for account_id in ACCOUNTS
        }

    def ask(self, path: str, account_id: UUID | None = None) -> tuple[float, Any]:
        """Milliseconds from request to whole answer, and the answer."""
        headers = {}
        if account_id is not None:
            headers[PRINCIPAL_HEADER.decode()] = self._tokens[account_id].decode()
        began = time.perf_counter()
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - began) * 1000
        assert answer.status == 200, body
        return took, json.loads(body)

    def ask_inclusion(self, placed: Placed, planted: Planted) -> float:
        """One receipt's proof."""
        took, proof = self.ask(f"{PATH}/{placed.receipt_id}/proof", placed.account_id)
        size = proof["tree_size"]
        hashes = [decode_base64(each) for each in proof["hashes"]]
        assert verify_inclusion(placed.leaf_hash, proof["leaf_index"], size, hashes, planted.roots[size])
        return took

    def ask_consistency(self, old: int, new: int, planted: Planted) -> float:
        """One proof between two sizes."""
        took, proof = self.ask(f"{PATH}/consistency?from={old}&to={new}")
        hashes = [decode_base64(each) for each in proof["hashes"]]
        assert verify_consistency(old, new, planted.roots[old], planted.roots[new], hashes)
        return took


def report(name: str, times: list[float]) -> float:
    """Print the figures; the 99th percentile."""
    p99 = statistics.quantiles(times, n=100)[98]
    print(
        f"{name:36} {len(times):6} asked   p50 {statistics.median(times):6.2f} ms"
        f"   p99 {p99:6.2f} ms   worst {max(times):6.2f} ms"
    )
    return p99


def measure(asking: Asking, planted: Planted, requests: int, chance: random.Random) -> dict[str, list[float]]:
    """All rounds. In the first one the service has just started, and no receipt is asked for twice."""
    receipts = chance.sample(planted.receipts, len(planted.receipts))
    sizes = sorted(planted.roots)

    def repeat(once: Callable[[], float]) -> list[float]:
        return [once() for _ in range(requests)]

    return {
        "the public keys, for comparison": repeat(lambda: asking.ask(f"{PATH}/public-keys.json")[0]),
        "inclusion, no tile read before": [asking.ask_inclusion(each, planted) for each in receipts],
        "inclusion, random receipts": repeat(
            lambda: asking.ask_inclusion(chance.choice(planted.receipts), planted)
        ),
        "inclusion, tiles at hand": repeat(
            lambda: asking.ask_inclusion(chance.choice(receipts[:200]), planted)
        ),
        "consistency, random sizes": repeat(
            lambda: asking.ask_consistency(*sorted(chance.sample(sizes, 2)), planted)
        ),
    }


def main() -> None:
    """Measure, print and write `bench/out/receipts_proofs.json`; exits 1 where inclusion is too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=10_000_000)
    parser.add_argument("--receipts", type=int, default=1_000)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    seed, gateway = new_seed(), SigningKey.from_seed(new_seed())
    mint = PrincipalMint(gateway, SystemClock())
    with run_postgres() as create, tempfile.TemporaryDirectory(prefix="llmring-bench-") as work:
        url = create("bench")
        began = time.monotonic()
        planted = uvloop.run(plant(url, seed, options.leaves, options.receipts, chance))
        took = time.monotonic() - began
        print(f"a tree of {options.leaves:,} leaves with {len(planted.receipts):,} receipts: {took:.0f} s")
        with run_receipts(url, Path(work), seed, gateway.public_key) as connection:
            rounds = measure(Asking(connection, mint), planted, options.requests, chance)
    p99s = {name: report(name, times) for name, times in rounds.items()}
    out = Path(__file__).parent / "out" / "receipts_proofs.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"leaves": options.leaves, "p99_ms": p99s}, indent=2))
    if max(p99s[name] for name in p99s if name.startswith("inclusion")) > NEEDED_P99_MS:
        sys.exit(f"the 99th percentile of inclusion proofs is above {NEEDED_P99_MS} ms")


if __name__ == "__main__":
    main()
