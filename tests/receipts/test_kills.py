"""`kill -9` of issuers at work, again and again: one tree, no gap, every rated event exactly one receipt.

`make kills` does it fifty times.
"""

import asyncio
import os
import random
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

import msgspec
import pytest

from services.receipts.issue import GROUP
from services.receipts.log_audit import LogCheck
from shared.clock import FixedClock
from shared.contracts.topics import RECEIPTS_ISSUED, TOPICS, USAGE_DEAD, USAGE_RATED
from shared.contracts.usage import UsageRated
from shared.event_log.port import EventLog, Record
from shared.event_log.positions import PostgresPositions
from shared.event_log.postgres import forget_members
from shared.proofs.signing import encode_base64
from shared.proofs.tlog.checkpoint import Checkpoint, open_checkpoint
from shared.proofs.tlog.note import VerifierKey
from shared.proofs.tlog.proofs import verify_consistency
from tests.live.conftest import open_folder
from tests.live.process import ServerProcess
from tests.production.processes import PROGRAM
from tests.proofs.test_tlog import tree_hash
from tests.receipts.event_log import read_all
from tests.receipts.house import House, Street, a_rated

PATH = "/api/v1/receipts"
KILLS = int(os.environ.get("LLMRING_KILLS", "5"))
BURST = 2_000
ACCOUNTS = [UUID(int=number + 1) for number in range(9)]


class Load:
    """Rated events, some of which come twice.

    Attributes:
        rated: how often each record was appended, by account id and log id.
    """

    def __init__(self, event_log: EventLog, chance: random.Random) -> None:
        self._event_log = event_log
        self._chance = chance
        self.rated: Counter[tuple[UUID, UUID]] = Counter()

    async def append(self, count: int) -> None:
        """Append so many, and a few of them a second time."""
        events = [a_rated(self._chance.choice(ACCOUNTS)) for _ in range(count)]
        events += self._chance.sample(events, count // 20)
        await self._event_log.append(USAGE_RATED, [_record(event) for event in events])
        self.rated.update((event.account_id, event.log_id) for event in events)


def _record(event: UsageRated) -> Record:
    return Record(str(event.account_id).encode(), msgspec.json.encode(event))


@asynccontextmanager
async def watching(house: House) -> AsyncIterator[list[str]]:
    """Every checkpoint that was to be seen while the block ran, in that order."""
    seen: list[str] = []
    stop = asyncio.Event()

    async def watch() -> None:
        while not stop.is_set():
            raw = (await house.call("GET", f"{PATH}/checkpoint", account=None)).body.decode()
            if not seen or seen[-1] != raw:
                seen.append(raw)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(watch())
    yield seen
    stop.set()
    await task


async def backlog(house: House) -> int:
    """How many records of the topic no issuer has applied yet."""
    positions = PostgresPositions(house.database, "receipts")
    applied = await positions.load(GROUP, USAGE_RATED, range(TOPICS[USAGE_RATED]))
    return sum((await house.event_log.ends(USAGE_RATED)).values()) - sum(applied.values())


async def kill_again_and_again(street: Street, house: House, load: Load, chance: random.Random) -> None:
    """Two issuers; each time, the one that has run longer is killed in the middle of its work."""
    settings = {
        "LLMRING_DATABASE_URL": street.url,
        "LLMRING_RECEIPTS_SIGNING_SEED": encode_base64(bytes([7]) * 32),
    }
    with open_folder() as folder:
        issuers = [
            ServerProcess(folder / str(number), [*PROGRAM, "worker", "issuer"], **settings)
            for number in range(2)
        ]
        try:
            for issuer in issuers:
                await asyncio.to_thread(issuer.start)
            died_at_work = 0
            for number in range(KILLS):
                victim = issuers[number % 2]
                await load.append(BURST)
                await asyncio.sleep(chance.uniform(0, 0.1))
                await asyncio.to_thread(victim.kill)
                died_at_work += await backlog(house) > 0
                await forget_members(street.url)
                await asyncio.to_thread(victim.start)
            assert died_at_work > KILLS // 2, f"of {KILLS} kills, only {died_at_work} met an issuer at work"
            await work_off(house)
            assert [await asyncio.to_thread(issuer.stop) for issuer in issuers] == [0, 0]
        finally:
            for issuer in issuers:
                if issuer.process is not None:
                    issuer.kill()


async def work_off(house: House) -> None:
    """Wait until the issuers have applied everything."""
    until = time.monotonic() + 120
    while (left := await backlog(house)) > 0:
        assert time.monotonic() < until, f"{left} records are still without a receipt"
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * KILLS)
async def test_killed_issuers_leave_one_tree_and_one_receipt_for_each_event(street: Street) -> None:
    chance = random.Random(int(os.environ["LLMRING_TEST_SEED"]))
    house = await street.open_house(
        signing_seed=encode_base64(bytes([7]) * 32), clock=FixedClock(datetime.now(UTC))
    )
    load = Load(house.event_log, chance)
    async with watching(house) as seen:
        await kill_again_and_again(street, house, load, chance)
    await check_receipts(house, load)
    await check_tree(house, seen)


async def check_receipts(house: House, load: Load) -> None:
    """Each rated record has one receipt; each account's are numbered without a gap; all were announced."""
    async with house.database.connection() as connection:
        rows = await connection.fetch("SELECT account_id, log_id, receipt_id FROM receipts.receipts")
    assert Counter((row[0], row[1]) for row in rows) == Counter(load.rated.keys())
    for account_id in ACCOUNTS:
        numbers = await house.numbers(account_id)
        assert numbers == list(range(1, len(numbers) + 1))
    assert await read_all(house.event_log, USAGE_DEAD) == []
    announced = {
        msgspec.json.decode(record.value or b"")["receipt_id"]
        for record in await read_all(house.event_log, RECEIPTS_ISSUED)
    }
    assert {str(row[2]) for row in rows} <= announced


async def check_tree(house: House, seen: list[str]) -> None:
    """The tree is that of the receipts, by our check and by the definition, and grew from each one seen."""
    async with house.database.transaction() as connection:
        assert [fault async for fault in LogCheck(connection).check()] == []
        rows = await connection.fetch(
            "SELECT leaf_index, payload FROM receipts.receipts LEFT JOIN receipts.leaves "
            "USING (account_id, receipt_id) ORDER BY leaf_index"
        )
    assert [row[0] for row in rows] == list(range(len(rows)))
    keys = (await house.call("GET", f"{PATH}/verifier-keys.txt", account=None)).body.decode().split()
    shown = [open_seen(raw, keys) for raw in seen]
    last = open_seen((await house.call("GET", f"{PATH}/checkpoint", account=None)).body.decode(), keys)
    assert last.size == len(rows)
    assert last.root == tree_hash([sha256(b"\x00" + row[1]).digest() for row in rows])
    assert len(shown) > KILLS
    assert [each.size for each in shown] == sorted({each.size for each in shown})
    for each in shown:
        assert each.origin == last.origin
        proof = await house.get(f"{PATH}/consistency?from={each.size}", account=None)
        hashes = [b64decode(text) for text in proof["hashes"]]
        assert verify_consistency(each.size, last.size, each.root, last.root, hashes)


def open_seen(raw: str, keys: list[str]) -> Checkpoint:
    """A checkpoint that was seen, verified by the published keys."""
    return open_checkpoint(raw, raw.split("\n", 1)[0], map(VerifierKey.parse, keys)).checkpoint
