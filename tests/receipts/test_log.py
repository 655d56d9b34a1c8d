"""The Merkle log over all receipts, as a stranger sees it over HTTP: proofs, tiles, and no way back."""

import asyncio
import contextlib
import dataclasses
import json
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.receipts.edge import Edge, find_fault
from services.receipts.log import BEFORE_ALL, Adopted, ReceiptLog
from services.receipts.signer import SigningKeyError
from shared.errors import InvalidFieldError, NotFoundError, UnavailableError
from shared.event_log.port import FencedError
from shared.proofs.tlog.checkpoint import Checkpoint, open_checkpoint
from shared.proofs.tlog.hashing import hash_leaf
from shared.proofs.tlog.note import VerifierKey
from shared.proofs.tlog.proofs import verify_consistency, verify_inclusion
from shared.proofs.tlog.tiles import Tile
from shared.runtime.front import Front
from shared.telemetry.metrics import RECEIPTS_LOG_DAMAGED
from shared.web.client import AsgiUpstream
from tests.proofs.stranger import ask_stranger
from tests.proofs.test_tlog import tree_hash
from tests.receipts.house import A, B, House, Street, a_rated, a_slice

PATH = "/api/v1/receipts"


async def issue(house: House, *counts: int, first: int = 0) -> int:
    """Issue slices of that many receipts each, from an offset on; the next offset."""
    for count in counts:
        await house.issuer.issue_receipts(a_slice([a_rated() for _ in range(count)], first=first))
        first += count
    return first


async def leaves(house: House) -> list[bytes]:
    """The payloads in the order of the log; every receipt is in it, once."""
    async with house.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT leaf_index, payload FROM receipts.receipts LEFT JOIN receipts.leaves "
            "USING (account_id, receipt_id) ORDER BY leaf_index"
        )
    assert [row[0] for row in rows] == list(range(len(rows)))
    return [row[1] for row in rows]


async def shown_checkpoint(house: House) -> tuple[Checkpoint, str]:
    """The newest checkpoint, verified by the published keys."""
    raw = (await house.call("GET", f"{PATH}/checkpoint", account=None)).body.decode()
    origin = raw.split("\n", 1)[0]
    keys = (await house.call("GET", f"{PATH}/verifier-keys.txt", account=None)).body.decode().split()
    return open_checkpoint(raw, origin, map(VerifierKey.parse, keys)).checkpoint, raw


async def test_an_empty_log_has_a_signed_checkpoint(house: House) -> None:
    checkpoint, _ = await shown_checkpoint(house)
    assert checkpoint.size == 0
    assert checkpoint.root == sha256(b"").digest()
    assert checkpoint.origin == f"llmring-receipts/{house.signer.key.key_id}"


async def test_a_receipt_is_in_the_signed_tree_when_it_is_issued(house: House) -> None:
    await issue(house, 1, 3, 300, 255)
    await house.post(PATH, {"model": "m", "cost": 1})
    payloads = await leaves(house)
    checkpoint, _ = await shown_checkpoint(house)
    assert checkpoint.size == len(payloads) == 560
    assert checkpoint.root == tree_hash([hash_leaf(payload) for payload in payloads])


async def test_every_receipt_has_a_proof_that_strangers_accept(house: House, stranger: Path) -> None:
    await issue(house, 5, 250, 260, 4)
    _, old = await shown_checkpoint(house)
    await issue(house, 70, first=519)
    checkpoint, raw = await shown_checkpoint(house)
    inclusions = []
    page = await house.get(f"{PATH}?limit=500")
    for receipt in page["receipts"][::7]:
        entry = json.dumps(
            receipt["payload"], ensure_ascii=False, sort_keys=True, separators=(",", ":")
        ).encode()
        proof = await house.get(f"{PATH}/{receipt['id']}/proof")
        assert proof["checkpoint"] == raw
        hashes = [b64decode(each) for each in proof["hashes"]]
        assert verify_inclusion(
            hash_leaf(entry), proof["leaf_index"], proof["tree_size"], hashes, checkpoint.root
        )
        inclusions.append(
            {
                "entry": b64encode(entry).decode(),
                "index": proof["leaf_index"],
                "size": proof["tree_size"],
                "root": b64encode(checkpoint.root).decode(),
                "proof": proof["hashes"],
            }
        )
    grown = await house.get(f"{PATH}/consistency?from=519", account=None)
    assert (grown["from"], grown["to"], grown["checkpoint"]) == (519, 589, raw)
    key = (await house.call("GET", f"{PATH}/verifier-keys.txt", account=None)).body.decode().strip()
    lines = ask_stranger(
        stranger,
        {
            "origin": checkpoint.origin,
            "log_key": key,
            "witness_keys": [],
            "checkpoints": [old, raw],
            "inclusions": inclusions,
            "consistencies": [
                {
                    "old_size": 519,
                    "size": 589,
                    "old_root": old.split("\n")[2],
                    "root": raw.split("\n")[2],
                    "proof": grown["hashes"],
                }
            ],
        },
    )
    assert len(lines) == len(inclusions) + 3


async def test_any_two_sizes_are_proved_consistent(house: House) -> None:
    await issue(house, 300)
    hashes = [hash_leaf(payload) for payload in await leaves(house)]
    for old, new in [(0, 0), (0, 9), (1, 2), (7, 7), (255, 256), (256, 300), (129, 257), (299, 300)]:
        proof = await house.get(f"{PATH}/consistency?from={old}&to={new}", account=None)
        assert verify_consistency(
            old,
            new,
            tree_hash(hashes[:old]),
            tree_hash(hashes[:new]),
            [b64decode(each) for each in proof["hashes"]],
        )
        assert (proof["checkpoint"] is None) == (new != 300)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=6", "from"),
        ("from=2&to=1", "from"),
        ("from=0&to=6", "to"),
        ("from=-1", "from"),
        ("from=x", "from"),
        ("to=1", "from"),
        ("from=&to=1", "from"),
        ("", "from"),
    ],
)
async def test_sizes_that_the_log_never_had_are_refused(house: House, query: str, field: str) -> None:
    await issue(house, 5)
    with pytest.raises(InvalidFieldError) as refused:
        await house.get(f"{PATH}/consistency?{query}", account=None)
    assert [fault.field for fault in refused.value.faults] == [field]
    assert "path" not in refused.value.detail


async def test_tiles_are_the_hashes_of_the_tree_for_ever(house: House) -> None:
    offset = await issue(house, 250, 20, 500)

    async def tile(name: str) -> bytes:
        answer = await house.call("GET", f"{PATH}/tile/{name}", account=None)
        assert dict(answer.headers)[b"cache-control"] == b"public, max-age=31536000, immutable"
        return answer.body

    hashes = [hash_leaf(payload) for payload in await leaves(house)]
    for start, name in ((0, "0/000"), (256, "0/001"), (512, "0/002")):
        assert await tile(name) == b"".join(hashes[start : start + 256])
    assert await tile("0/003.p/2") == b"".join(hashes[768:770])
    assert await tile("0/001.p/9") == b"".join(hashes[256:265])
    roots = [tree_hash(hashes[start : start + 256]) for start in (0, 256, 512)]
    assert await tile("1/000.p/3") == b"".join(roots)
    await issue(house, 300, first=offset)
    assert await tile("0/003.p/2") == b"".join(hashes[768:770])
    assert await tile("1/000.p/2") == b"".join(roots[:2])


@pytest.mark.parametrize(
    "name", ["0/003", "0/000.p/6", "1/000", "1/000.p/1", "2/000", "0/0", "x", "entries/000"]
)
async def test_there_is_no_tile_beyond_the_tree_and_none_of_entries(house: House, name: str) -> None:
    await issue(house, 5)
    with pytest.raises(NotFoundError):
        await house.call("GET", f"{PATH}/tile/{name}", account=None)


async def test_a_large_tree_proves_through_all_its_levels(house: House, street: Street) -> None:
    """More than 65,536 leaves, so that tiles of level 1 are full; made without signing each one."""
    count = 65_536 + 300
    async with house.database.transaction() as connection:
        await connection.execute("ALTER TABLE receipts.receipts DISABLE TRIGGER ALL")
        await connection.execute(
            r"""
            INSERT INTO receipts.receipts (account_id, receipt_id, account_sequence, kind, log_id,
                occurred_at, issued_at, key_id, payload, signature)
            SELECT $1, gen_random_uuid(), n, 'recorded', gen_random_uuid(), now(), now(), 'k',
                   convert_to('leaf ' || n, 'UTF8'), decode(repeat('00', 64), 'hex')
            FROM generate_series(1, $2) AS n
            """,
            A,
            count,
        )
    log = ReceiptLog(house.database, house.signer, "", house.clock)
    adopted: Adopted | None = BEFORE_ALL
    while adopted is not None:
        adopted = await log.adopt(adopted)
    payloads = await leaves(house)
    assert len(payloads) == count
    checkpoint, _ = await shown_checkpoint(house)
    hashes = [hash_leaf(payload) for payload in payloads]
    assert checkpoint.root == tree_hash(hashes)
    async with house.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT receipt_id, leaf_index FROM receipts.leaves WHERE leaf_index = ANY($1::bigint[])",
            [0, 255, 256, 40_000, 65_535, 65_536, 65_800, count - 1],
        )
    for receipt_id, leaf_index in rows:
        proof = await house.get(f"{PATH}/{receipt_id}/proof")
        assert proof["leaf_index"] == leaf_index
        path = [b64decode(each) for each in proof["hashes"]]
        assert verify_inclusion(hashes[leaf_index], leaf_index, count, path, checkpoint.root)
    for old in (1, 255, 65_535, 65_536, 65_537):
        proof = await house.get(f"{PATH}/consistency?from={old}", account=None)
        path = [b64decode(each) for each in proof["hashes"]]
        assert verify_consistency(old, count, tree_hash(hashes[:old]), checkpoint.root, path)
    level_1 = (await house.call("GET", f"{PATH}/tile/{Tile(1, 0).path}", account=None)).body
    assert level_1 == b"".join(tree_hash(hashes[at : at + 256]) for at in range(0, 65_536, 256))


async def test_issuers_at_once_make_one_tree(street: Street) -> None:
    houses = [await street.open_house() for _ in range(4)]

    async def work(number: int, house: House) -> None:
        first = 0
        for count in (3, 90, 1, 40):
            accounts = [A, B, UUID(int=100 + number)]
            values = [a_rated(accounts[each % 3]) for each in range(count)]
            await house.issuer.issue_receipts(a_slice(values, first=first, partition=number))
            first += count
        await house.post(PATH, {"model": "m", "cost": 1})

    await asyncio.gather(*(work(number, house) for number, house in enumerate(houses)))
    payloads = await leaves(houses[0])
    checkpoint, _ = await shown_checkpoint(houses[1])
    assert checkpoint.size == len(payloads) == 4 * 135
    assert checkpoint.root == tree_hash([hash_leaf(payload) for payload in payloads])


async def test_what_is_not_committed_is_not_in_the_tree(house: House) -> None:
    await issue(house, 2)
    before = await shown_checkpoint(house)
    with pytest.raises(FencedError):
        await house.issuer.issue_receipts(a_slice([a_rated()], first=7))
    await house.event_log.close()
    with pytest.raises(UnavailableError):
        await house.issuer.issue_receipts(a_slice([a_rated()], first=2))
    assert await shown_checkpoint(house) == before
    assert len(await leaves(house)) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE receipts.log SET tree_size = tree_size - 1",
        "UPDATE receipts.log SET origin = 'other'",
        "DELETE FROM receipts.log",
        "TRUNCATE receipts.log",
        "UPDATE receipts.tiles SET level = 1",
        "DELETE FROM receipts.tiles",
        "TRUNCATE receipts.tiles",
        "UPDATE receipts.leaves SET leaf_index = leaf_index + 1",
        "DELETE FROM receipts.leaves",
        "TRUNCATE receipts.leaves",
    ],
)
async def test_the_database_itself_refuses_to_rewrite_the_log(house: House, statement: str) -> None:
    await issue(house, 300)
    async with house.database.connection() as connection:
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute(statement)


async def test_a_changed_leaf_is_noticed_before_its_tile_is_sealed(house: House) -> None:
    offset = await issue(house, 100)
    async with house.database.transaction() as connection:
        await connection.execute("ALTER TABLE receipts.leaves DISABLE TRIGGER ALL")
        await connection.execute("UPDATE receipts.leaves SET leaf_hash = sha256('') WHERE leaf_index = 40")
    offset = await issue(house, 100, first=offset)
    with pytest.raises(UnavailableError, match="damaged at or before tile 0"):
        await issue(house, 100, first=offset)
    assert (await shown_checkpoint(house))[0].size == 200


async def fault_after(house: House, statement: str) -> str | None:
    """What is found after a change that the database would refuse, and that is undone again."""
    found = None
    with contextlib.suppress(_RollBackError):
        async with house.database.transaction() as connection:
            for table in ("leaves", "tiles", "log"):
                await connection.execute(f"ALTER TABLE receipts.{table} DISABLE TRIGGER ALL")
            await connection.execute(statement)
            found = await find_fault(connection)
            raise _RollBackError
    return found


async def test_damage_shows_in_health_and_in_a_metric_before_issuing_stops(house: House) -> None:
    edge = Edge(house.database)
    await issue(house, 256 + 100)
    await edge.look()
    await edge.ping()
    for statement, told in (
        ("UPDATE receipts.leaves SET leaf_hash = sha256('') WHERE leaf_index = 326", "leaves 320 to 351"),
        ("DELETE FROM receipts.leaves WHERE leaf_index = 355", "leaves 352 to 355"),
        ("UPDATE receipts.tiles SET root = sha256('')", "leaves 0 to 255"),
        ("UPDATE receipts.log SET frontier = substr(frontier, 33)", "has 4 subtrees"),
    ):
        assert told in (await fault_after(house, statement) or "")
    async with house.database.transaction() as connection:
        await connection.execute("ALTER TABLE receipts.leaves DISABLE TRIGGER leaves_are_append_only")
        await connection.execute("UPDATE receipts.leaves SET leaf_hash = sha256('') WHERE leaf_index = 300")
    await edge.look()
    assert RECEIPTS_LOG_DAMAGED.collect()[0].samples[0].value == 1
    with pytest.raises(UnavailableError, match="leaves 256 to 319 are not what was signed"):
        await edge.ping()
    # What docs/operations.md has for it.
    async with house.database.transaction() as connection:
        await connection.execute("""
            UPDATE receipts.leaves l SET leaf_hash = sha256('\\x00'::bytea || r.payload)
            FROM receipts.receipts r
            WHERE (r.account_id, r.receipt_id) = (l.account_id, l.receipt_id) AND l.leaf_index = 300
        """)
        await connection.execute("ALTER TABLE receipts.leaves ENABLE TRIGGER leaves_are_append_only")
    await edge.look()
    await edge.ping()
    assert RECEIPTS_LOG_DAMAGED.collect()[0].samples[0].value == 0
    await issue(house, 200, first=356)


async def test_health_names_a_damaged_log_and_receipts_stay_there_to_be_read(house: House) -> None:
    async def damaged() -> None:
        raise UnavailableError("x")

    front = Front(lambda: (b"", "text/plain"))
    assert "receipts_log" in house.service.pings
    pings = {**house.service.pings, "receipts_log": damaged}
    front.open(dataclasses.replace(house.service, pings=pings))
    answer = await AsgiUpstream(front).call("GET", "/health/ready")
    assert (answer.status, json.loads(answer.body)["checks"]["receipts_log"]) == (200, False)


class _RollBackError(Exception):
    pass


async def test_a_log_keeps_its_name(street: Street) -> None:
    named = await street.open_house(log_origin="receipts.example/log")
    assert (await shown_checkpoint(named))[0].origin == "receipts.example/log"
    assert (await shown_checkpoint(await street.open_house()))[0].origin == "receipts.example/log"
    with pytest.raises(SigningKeyError, match="cannot be renamed to other"):
        await street.open_house(log_origin="other.example/log")


@pytest.mark.parametrize("origin", ["a b", "a+b", "a\nb"])
async def test_a_name_that_notes_cannot_bear_stops_the_start(street: Street, origin: str) -> None:
    with pytest.raises(SigningKeyError, match="will not do"):
        await street.open_house(log_origin=origin)


async def test_a_checkpoint_after_a_rotation_is_signed_by_the_new_key(street: Street) -> None:
    old = await street.open_house()
    await issue(old, 2)
    _, first = await shown_checkpoint(old)
    new = await street.open_house(signing_seed=b64encode(bytes([5]) * 32).decode())
    await issue(new, 2, first=2)
    checkpoint, second = await shown_checkpoint(new)
    keys: list[Any] = (await new.call("GET", f"{PATH}/verifier-keys.txt", account=None)).body.decode().split()
    parsed = [VerifierKey.parse(key) for key in keys]
    assert len(parsed) == 2
    for raw, signer in ((first, old.signer), (second, new.signer)):
        [signature] = open_checkpoint(raw, checkpoint.origin, parsed).signatures
        assert signature.key.public_key == signer.key.public_key
