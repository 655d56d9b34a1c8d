"""What is public of the receipts is hashes, keys and verdicts: no path gives away anything of an account.

The paths come from the service's own OpenAPI document, so one that is new fails here until it is walked.
"""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from services.receipts.log import Leaf, ReceiptLog
from shared.contracts.usage import CostLine
from shared.ids import uuid7
from shared.proofs.signing import SigningKey
from shared.proofs.tlog.note import COSIGNATURE, VerifierKey, cosign_note, join_lines, parse_note
from shared.proofs.tlog.tiles import TILE_WIDTH, Tile, find_edge, is_within
from tests.receipts.house import NOW, A, B, House, Street, a_rated, a_slice
from tests.receipts.spellings import SHORTEST, Written

PATH = "/api/v1/receipts"
OWNER, KEY = UUID("d3adb33f-1c0f-4a11-9e5e-0dd5eedf00d5"), UUID("7e57ab1e-cafe-4b0b-8bad-f00dfeedc0de")
COUNT = 300
"""Receipts, and so many leaves that tiles of two levels are full and of the third one partial."""
BARE = 256**2
PUBLIC_FACTS = {"key_id"}
WITNESS_KEY = SigningKey.from_seed(bytes([3]) * 32)
WITNESS = VerifierKey("w.example", WITNESS_KEY.public_key, COSIGNATURE)
WORDS = {"kind", "currency", "cost_status", "calculated_status", "v", "account_sequence"}
"""Words and numbers of the format, which may stand anywhere."""

Walk = Callable[["Visit"], Awaitable[None]]


def a_marked(number: int) -> Any:
    """Usage with something unmistakable in every field."""
    at = datetime(2031, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC) + timedelta(milliseconds=number)
    return a_rated(
        OWNER,
        key_id=KEY,
        occurred_at=at,
        received_at=at + timedelta(microseconds=333),
        repriced_at=at + timedelta(microseconds=777) if number == 0 else None,
        provider="marked-provider",
        model="marked-model-é",
        model_key="marked-provider:marked-model",
        input_tokens=71_000_001,
        output_tokens=72_000_002,
        cached_input_tokens=73_000_003,
        cache_write_5m_tokens=74_000_004,
        cache_write_1h_tokens=75_000_005,
        reasoning_tokens=76_000_006,
        audio_input_tokens=77_000_007,
        audio_output_tokens=78_000_008,
        latency_ms=79_000_009,
        service_tier="marked-tier",
        alias="marked-alias",
        profile="marked-profile",
        origin="marked-origin",
        id_at_origin="marked-id-at-origin",
        metadata=msgspec.Raw(b'{"marked-metadata-name": "marked-metadata-value"}'),
        idempotency_key="marked-idempotency-key",
        client_cost="1234567.000000000001",
        calculated_cost="1234567.000000000002",
        cost="1234567.000000000003",
        registry_version="marked-version",
        registry_digest="5ec4e7" + "ab" * 29,
        cost_breakdown=[CostLine("marked-line", 81_000_001, "1234567.04", "1234567.000000000005")],
    )


def secrets_of(receipt: dict[str, Any]) -> Iterator[str | int]:
    """Every fact that belongs to the account; each must be one that can be recognized."""

    def walk(name: str, value: Any) -> Iterator[str | int]:
        if isinstance(value, list):
            for each in value:
                yield from walk(name, each)
        elif isinstance(value, dict):
            for key, each in value.items():
                yield from walk(f"{name}.{key}", each)
        elif name not in WORDS | PUBLIC_FACTS and value is not None:
            assert len(str(value)) >= SHORTEST, f"{name} is not marked: {value}"
            yield value

    for name, fact in receipt["payload"].items():
        yield from walk(name, fact)
    yield receipt["signature"]


class Visit:
    """A stranger without a key, who keeps every answer."""

    def __init__(self, http: httpx.AsyncClient, receipts: list[dict[str, Any]]) -> None:
        self.receipts = receipts
        self._http = http
        self.answers: dict[str, bytes] = {}

    async def ask(
        self, method: str, path: str, status: int = 200, body: bytes | None = None
    ) -> httpx.Response:
        """Ask, and keep headers and body."""
        answer = await self._http.request(method, path, content=body)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        head = b"\n".join(name + b": " + value for name, value in answer.headers.raw)
        self.answers[f"{method} {path} {len(self.answers)}"] = head + b"\n\n" + answer.content
        return answer

    async def size(self) -> int:
        """Of the log."""
        return int((await self.ask("GET", f"{PATH}/checkpoint")).text.split("\n")[1])


async def walk_checkpoint(visit: Visit) -> None:
    for query in ("", "?witnessed=true", "?for_witnesses=true", "?witnessed=false&for_witnesses=false"):
        await visit.ask("GET", f"{PATH}/checkpoint{query}")
    await visit.ask("GET", f"{PATH}/checkpoint?witnessed=x", 422)


async def walk_consistency(visit: Visit) -> None:
    size = await visit.size()
    for old in (0, 1, 255, 256, 257, 511, BARE - 1, BARE, BARE + 1, size - 1, size):
        await visit.ask("GET", f"{PATH}/consistency?from={old}")
        await visit.ask("GET", f"{PATH}/consistency?from={old // 2}&to={old}")
    await visit.ask("GET", f"{PATH}/consistency?from={size + 1}", 422)


async def walk_tiles(visit: Visit) -> None:
    size, full, partial = await visit.size(), set(), set()
    for level in range(8):
        number = 0
        while is_within(Tile(level, number), size):
            await visit.ask("GET", f"{PATH}/tile/{Tile(level, number).path}")
            full.add(level)
            number += 1
        edge = find_edge(level, size)
        for width in range(1, edge.width + 1) if edge else ():
            await visit.ask("GET", f"{PATH}/tile/{Tile(level, number, width).path}")
            partial.add(level)
        await visit.ask("GET", f"{PATH}/tile/{Tile(level, number + 1).path}", 404)
        await visit.ask("GET", f"{PATH}/tile/entries/{Tile(0, number).path.removeprefix('0/')}", 404)
    assert (full, partial) == ({0, 1}, {0, 1, 2})
    await visit.ask("GET", f"{PATH}/tile/0/001.p/{TILE_WIDTH - 1}")


async def walk_cosignatures(visit: Visit) -> None:
    note = parse_note((await visit.ask("GET", f"{PATH}/checkpoint")).text)
    line = cosign_note(note.text, WITNESS.name, WITNESS_KEY, 1_900_000_000)
    await visit.ask("POST", f"{PATH}/cosignatures", body=join_lines(note, [line]).encode().encode())
    await visit.ask("POST", f"{PATH}/cosignatures", 403, note.encode().encode())
    await visit.ask("POST", f"{PATH}/cosignatures", 400, b"x")


async def walk_verify(visit: Visit) -> None:
    """Whoever has a receipt may ask whether it is true, and learns no more."""
    receipt = visit.receipts[0]
    good = await visit.ask("POST", f"{PATH}/verify", body=json.dumps(receipt).encode())
    assert good.json() == {"valid": True, "key_status": "current"}
    for changes in ({"receipt_id": str(uuid7())}, {"payload": {}}, {"key_id": "k9"}, {"signature": "x"}):
        await visit.ask("POST", f"{PATH}/verify", body=json.dumps(receipt | changes).encode())
    await visit.ask("POST", f"{PATH}/verify", 400, b"{")


def walk_file(name: str) -> Walk:
    async def walk(visit: Visit) -> None:
        await visit.ask("GET", f"{PATH}/{name}")

    return walk


WALKS: dict[tuple[str, str], Walk] = {
    ("post", f"{PATH}/cosignatures"): walk_cosignatures,
    ("get", f"{PATH}/checkpoint"): walk_checkpoint,
    ("get", f"{PATH}/consistency"): walk_consistency,
    ("get", f"{PATH}/tile/{{name}}"): walk_tiles,
    ("get", f"{PATH}/verifier-keys.txt"): walk_file("verifier-keys.txt"),
    ("get", f"{PATH}/witnesses"): walk_file("witnesses"),
    ("get", f"{PATH}/public-keys.json"): walk_file("public-keys.json"),
    ("get", f"{PATH}/public-key.pem"): walk_file("public-key.pem"),
    ("get", f"{PATH}/jwks.json"): walk_file("jwks.json"),
    ("post", f"{PATH}/verify"): walk_verify,
}
"""What is public, and how it is walked; cosignatures first, so that there is a witnessed checkpoint."""


@pytest.fixture
async def visit(street: Street) -> AsyncIterator[Visit]:
    """To a log with marked receipts, many leaves and a witness."""
    house = await street.open_house(witnesses=(WITNESS.text,))
    house.clock.at = NOW + timedelta(minutes=7)
    log = ReceiptLog(house.database, house.signer, "", house.clock)
    async with house.database.transaction() as connection:
        leaves = [Leaf(sha256(b"%d" % n).digest(), OWNER, UUID(int=n + 1)) for n in range(BARE)]
        await log.append(connection, leaves)
    await house.issuer.issue_receipts(a_slice([a_marked(number) for number in range(COUNT)]))
    receipts = (await house.get(f"{PATH}?limit=500", account=OWNER))["receipts"]
    assert len(receipts) == COUNT
    async with visitor(house) as http:
        yield Visit(http, receipts)


def visitor(house: House) -> httpx.AsyncClient:
    assert house.service.app is not None
    transport = httpx.ASGITransport(app=house.service.app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://receipts")


async def list_operations(http: httpx.AsyncClient) -> set[tuple[str, str]]:
    """Method and path of everything that the document has."""
    paths = (await http.get("/internal/openapi.json")).json()["paths"]
    return {(method, path) for path, methods in paths.items() for method in methods}


async def test_no_public_path_tells_anything_of_an_account(visit: Visit) -> None:
    for walk in WALKS.values():
        await walk(visit)
    assert any(b"w.example" in answer for answer in visit.answers.values())
    found = {secret for receipt in visit.receipts for secret in secrets_of(receipt)}
    found |= {"marked-metadata-name", "marked-metadata-value", "marked-idempotency-key", str(OWNER), str(KEY)}
    assert len(found) > COUNT * 5
    written = Written(found)
    own = json.dumps(visit.receipts).encode()
    assert len({secret for _, secret in written.find(own)}) == len(found) - 3, "not all would be noticed"
    for name, answer in visit.answers.items():
        assert written.find(answer) == [], name


async def test_everything_else_wants_a_key(house: House) -> None:
    await house.issuer.issue_receipts(a_slice([a_rated()]))
    [receipt] = (await house.get(PATH))["receipts"]
    async with visitor(house) as http:
        public = set()
        for method, path in await list_operations(http):
            assert path == PATH or path.startswith(f"{PATH}/"), f"{path} belongs to no walk"
            answer = await http.request(method, path.replace("{receipt_id}", receipt["id"]))
            if answer.status_code != 401:
                public.add((method, path))
    assert public == WALKS.keys()
    assert house.clock.now() + timedelta(seconds=1) > NOW


async def test_anothers_receipt_is_like_one_that_never_was_on_every_path(house: House) -> None:
    """Case P40: every path that names a receipt, and every filter."""
    await house.issuer.issue_receipts(a_slice([a_rated(A)]))
    everything = {"start_date": "2031-05-01", "end_date": "2031-05-31"}
    statement = (await house.post(PATH, everything, account=A))["receipt_id"]
    [recorded] = [each for each in (await house.get(PATH, account=A))["receipts"] if each["id"] != statement]
    async with visitor(house) as http:
        operations = await list_operations(http)
        named = {each for each in operations if "{receipt_id}" in each[1]}
        assert len(named) >= 6
        for method, path in named:
            for query in ("", "?format=llmring-1.0", "?format=tlog-proof"):

                async def ask(receipt_id: str, owner: UUID = B) -> tuple[int, bytes]:
                    answer = await http.request(
                        method,  # noqa: B023 - awaited before the next one
                        path.replace("{receipt_id}", receipt_id) + query,  # noqa: B023
                        headers=house.principal_headers(owner),
                    )
                    return answer.status_code, answer.content.replace(receipt_id.encode(), b"ID")

                refused = await ask(str(uuid7()))
                assert refused[0] == 404 or query, path
                assert [await ask(each) for each in (recorded["id"], statement)] == [refused] * 2
        facts = recorded["payload"]
        for query in (
            f"log_id={facts['log_id']}",
            f"api_key_id={facts['api_key_id']}",
            f"account_id={A}&user_id={A}",
            f"origin={facts['origin']}",
            f"conversation_id={facts['id_at_origin']}",
            f"receipt_id={recorded['id']}",
            "start_date=2000-01-01&end_date=2099-01-01&limit=500",
        ):
            answer = await http.get(f"{PATH}?{query}", headers=house.principal_headers(B))
            assert (answer.status_code, answer.json()["receipts"]) == (200, []), query


def test_a_secret_would_be_recognized_however_it_is_written() -> None:
    written = Written([str(OWNER)])
    for raw in (str(OWNER).encode(), OWNER.bytes):
        for before in range(5):
            for after in range(3):
                encoded = base64.b64encode(bytes([7] * before) + raw + bytes([9] * after))
                assert written.find(b"..." + encoded)
                assert written.find(encoded.replace(b"+", b"-").replace(b"/", b"_").rstrip(b"="))
    for shown in (str(OWNER).upper(), OWNER.hex, OWNER.hex.upper(), str(OWNER.int), OWNER.urn):
        assert written.find(f"x{shown}".encode())
    assert not written.find(b"d3adb33f-1c0f-4a11-9e5e-0dd5eedf00d4")
