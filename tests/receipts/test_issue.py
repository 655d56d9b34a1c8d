"""From rated usage to receipts: exactly one each, numbered without a gap, whatever comes twice or at once."""

import asyncio
import hashlib
import json
from typing import Any
from uuid import UUID

import msgspec
import pytest
import rfc8785

from shared.contracts.topics import RECEIPTS_ISSUED, USAGE_DEAD
from shared.errors import UnavailableError
from shared.event_log.port import FencedError, Position, Record
from shared.proofs.metadata import metadata_digest
from tests.receipts.event_log import read_all
from tests.receipts.house import NOW, A, B, House, Street, a_rated, a_slice, is_signed


async def test_a_receipt_states_everything_that_was_recorded(house: House) -> None:
    rated = a_rated()
    await house.issuer.issue_receipts(a_slice([rated]))
    [payload] = await house.payloads()
    issued = {name: payload.pop(name) for name in ("receipt_id", "nonce")}
    assert UUID(issued["receipt_id"]).version == 7
    assert len(bytes.fromhex(issued["nonce"])) == 16
    assert payload == {
        "v": 1,
        "kind": "recorded",
        "key_id": house.signer.key.key_id,
        "account_id": str(A),
        "api_key_id": str(UUID(int=7)),
        "account_sequence": 1,
        "log_id": str(rated.log_id),
        "provider": "openai",
        "model": "gpt-4o-mini",
        "model_key": "openai:gpt-4o-mini",
        "input_tokens": 1200,
        "output_tokens": 340,
        "cached_input_tokens": 100,
        "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
        "audio_input_tokens": 0,
        "audio_output_tokens": 0,
        "service_tier": "standard",
        "latency_ms": 812,
        "origin": "web",
        "alias": "résumé 😀",
        "profile": None,
        "id_at_origin": "r-17",
        "occurred_at": "2031-05-03T11:59:58.250000Z",
        "received_at": "2031-05-03T11:59:59Z",
        "issued_at": "2031-05-03T12:00:00Z",
        "currency": "USD",
        "cost": "0.0003765",
        "cost_breakdown": [
            {"kind": "input", "tokens": 1100, "usd_per_million": "0.15", "usd": "0.000165"},
            {"kind": "cached_input", "tokens": 100, "usd_per_million": "0.075", "usd": "0.0000075"},
            {"kind": "output", "tokens": 340, "usd_per_million": "0.6", "usd": "0.000204"},
        ],
        "client_cost": None,
        "calculated_cost": "0.0003765",
        "calculated_status": "priced",
        "cost_status": "priced",
        "registry_digest": "d" * 64,
        "registry_version": "2031.05.01",
        "metadata_digest": hashlib.sha256(rfc8785.dumps({"user_id": "u1", "share": 0.5})).hexdigest(),
    }


async def test_a_receipt_is_stored_and_served_as_the_bytes_that_were_signed(house: House) -> None:
    await house.issuer.issue_receipts(a_slice([a_rated()]))
    async with house.database.connection() as connection:
        stored = await connection.fetchval("SELECT payload FROM receipts.receipts")
    assert stored == rfc8785.dumps(json.loads(stored))
    [payload] = await house.payloads()
    answer = await house.call("GET", f"/api/v1/receipts/{payload['receipt_id']}")
    assert stored in answer.body


async def test_a_stranger_verifies_it_with_the_public_key_alone(house: House) -> None:
    await house.issuer.issue_receipts(a_slice([a_rated()]))
    keys = await house.get("/api/v1/receipts/public-keys.json", account=None)
    [receipt] = (await house.get("/api/v1/receipts"))["receipts"]
    assert is_signed(receipt, keys)
    receipt["payload"]["cost"] = "0.00037650"
    assert not is_signed(receipt, keys)


async def test_unpriced_and_bare_usage_is_receipted_as_such(house: House) -> None:
    bare = a_rated(
        metadata=msgspec.Raw(b"null"),
        cost=None,
        calculated_cost=None,
        cost_breakdown=[],
        latency_ms=None,
        cost_status="model_not_in_registry",
        calculated_status="model_not_in_registry",
        model_key=None,
    )
    paid = a_rated(client_cost="0", cost="0", cost_status="client")
    await house.issuer.issue_receipts(a_slice([bare, paid]))
    first, second = await house.payloads()
    assert (first["cost"], first["cost_status"], first["metadata_digest"], first["cost_breakdown"]) == (
        None,
        "model_not_in_registry",
        None,
        [],
    )
    assert (second["cost"], second["client_cost"], second["calculated_cost"]) == ("0", "0", "0.0003765")


async def test_metadata_enters_only_as_a_digest(house: House) -> None:
    secret = {"note": "PROMPT-LIKE-TEXT"}
    await house.issuer.issue_receipts(a_slice([a_rated(metadata=msgspec.Raw(json.dumps(secret).encode()))]))
    [payload] = await house.payloads()
    assert payload["metadata_digest"] == metadata_digest(secret)
    assert "PROMPT-LIKE-TEXT" not in json.dumps(payload)


async def test_the_same_slice_again_is_fenced_and_gives_nothing_new(house: House) -> None:
    taken = a_slice([a_rated(), a_rated(), a_rated(B)])
    await house.issuer.issue_receipts(taken)
    with pytest.raises(FencedError):
        await house.issuer.issue_receipts(taken)
    assert await house.numbers(A) == [1, 2]
    assert await house.numbers(B) == [1]
    assert await house.position() == 3


async def test_the_same_event_at_other_offsets_is_one_receipt(house: House) -> None:
    rated = a_rated()
    await house.issuer.issue_receipts(a_slice([rated, rated, a_rated(), rated]))
    await house.issuer.issue_receipts(a_slice([a_rated(), rated], first=4))
    await house.issuer.issue_receipts(a_slice([rated], partition=1))
    assert await house.numbers() == [1, 2, 3]
    assert [p["log_id"] for p in await house.payloads()].count(str(rated.log_id)) == 1
    assert (await house.position(0), await house.position(1)) == (6, 1)


async def test_one_log_id_of_two_accounts_is_two_records(house: House) -> None:
    mine = a_rated()
    await house.issuer.issue_receipts(a_slice([mine, a_rated(B, log_id=mine.log_id)]))
    assert (await house.numbers(A), await house.numbers(B)) == ([1], [1])


async def test_two_issuers_of_one_slice_give_one_receipt_each(street: Street) -> None:
    one, other = await street.open_house(), await street.open_house()
    fenced = 0
    for step in range(10):
        taken = a_slice([a_rated(A if n % 3 else B) for n in range(30)], first=step * 30)
        outcomes = await asyncio.gather(
            one.issuer.issue_receipts(taken), other.issuer.issue_receipts(taken), return_exceptions=True
        )
        assert {type(o) for o in outcomes} == {type(None), FencedError}
        fenced += sum(isinstance(o, FencedError) for o in outcomes)
    assert fenced == 10
    assert await one.numbers(A) == list(range(1, 201))
    assert await one.numbers(B) == list(range(1, 101))


async def test_issuers_and_declarations_at_once_leave_no_gap(street: Street) -> None:
    houses = [await street.open_house() for _ in range(3)]

    async def issue(house: House, partition: int) -> None:
        for step in range(5):
            # Every slice has all the accounts, each partition in another order.
            accounts = [UUID(int=1 + (n * (partition + 1)) % 7) for n in range(21)]
            await house.issuer.issue_receipts(
                a_slice([a_rated(account) for account in accounts], first=step * 21, partition=partition)
            )

    async def declare(house: House) -> None:
        for n in range(10):
            await house.post("/api/v1/receipts", {"model": "openai:gpt-4o-mini"}, account=UUID(int=1 + n % 7))

    await asyncio.gather(
        *(issue(house, partition) for partition, house in enumerate(houses)), *(declare(h) for h in houses)
    )
    total = 0
    for account in range(1, 8):
        numbers = await houses[0].numbers(UUID(int=account))
        assert numbers == list(range(1, len(numbers) + 1))
        total += len(numbers)
    assert total == 3 * 5 * 21 + 3 * 10


POISON: list[bytes | None] = [
    b"\xff\xfe",
    b"",
    None,
    b"[]",
    b'{"v":99}',
    b"{" * 2000,
    msgspec.json.encode(a_rated(v=99)),
    msgspec.json.encode(a_rated(input_tokens=2**53)),
    msgspec.json.encode(a_rated()).replace(b'"input_tokens":1200', b'"input_tokens":99999999999999999999'),
    msgspec.json.encode(a_rated()).replace(b"11:59:59Z", b"11:59:59"),
    msgspec.json.encode(a_rated()).replace(b'"alias":"r', b'"alias":"\\ud800'),
    msgspec.json.encode(a_rated(metadata=msgspec.Raw(b'{"n": 1e400}'))),
    msgspec.json.encode(a_rated(metadata=msgspec.Raw(b'["no object"]'))),
]


async def test_what_cannot_be_read_is_set_aside_and_holds_nobody_up(house: House) -> None:
    values: list[Any] = []
    for poison in POISON:
        values += [poison, a_rated()]
    await house.issuer.issue_receipts(a_slice(values))
    assert await house.numbers() == list(range(1, len(POISON) + 1))
    assert await house.position() == len(values)
    dead = await read_all(house.event_log, USAGE_DEAD)
    assert sorted(record.value or b"" for record in dead) == sorted(poison or b"" for poison in POISON)
    for record in dead:
        headers = dict(record.headers)
        assert headers["dead-letter-reason"]
        assert headers["traceparent"] == b"00-1-2-01"


async def test_every_receipt_is_announced_with_the_trace_of_its_record(house: House) -> None:
    await house.issuer.issue_receipts(a_slice([a_rated(), a_rated(B)]))
    announced = {}
    for record in await read_all(house.event_log, RECEIPTS_ISSUED):
        event = json.loads(record.value or b"")
        announced[event["receipt_id"]] = event
        assert record.key == event["account_id"].encode()
        assert ("traceparent", b"00-1-2-01") in record.headers
    for account in (A, B):
        [payload] = await house.payloads(account)
        event = announced.pop(payload["receipt_id"])
        assert event == {
            "v": 1,
            "receipt_id": payload["receipt_id"],
            "account_id": str(account),
            "kind": "recorded",
            "log_id": payload["log_id"],
            "account_sequence": 1,
            "key_id": payload["key_id"],
            "payload_sha256": hashlib.sha256(rfc8785.dumps(payload)).hexdigest(),
            "issued_at": "2031-05-03T12:00:00Z",
            "supersedes": None,
        }
    assert announced == {}


async def test_when_the_announcement_fails_nothing_was_issued(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = a_slice([a_rated(), a_rated()])

    async def refuse(topic: str, records: list[Record]) -> list[Position]:
        raise UnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(house.event_log, "append", refuse)
        with pytest.raises(UnavailableError):
            await house.issuer.issue_receipts(taken)
        with pytest.raises(UnavailableError):
            await house.post("/api/v1/receipts", {"model": "openai:gpt-4o-mini"})
    assert await house.payloads() == []
    assert await house.position() == 0
    await house.issuer.issue_receipts(taken)
    assert await house.numbers() == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE receipts.receipts SET log_id = NULL",
        "DELETE FROM receipts.receipts",
        "TRUNCATE receipts.receipts",
    ],
)
async def test_an_issued_receipt_cannot_be_changed_or_removed(house: House, change: str) -> None:
    await house.issuer.issue_receipts(a_slice([a_rated()]))
    async with house.database.connection() as connection:
        with pytest.raises(Exception, match="append-only"):
            await connection.execute(change)
    assert await house.numbers() == [1]


async def test_receipts_are_in_the_order_of_their_events(house: House) -> None:
    rated = [a_rated() for _ in range(200)]
    await house.issuer.issue_receipts(a_slice(rated))
    payloads = await house.payloads()
    assert [p["log_id"] for p in payloads] == [str(r.log_id) for r in rated]
    assert len({p["nonce"] for p in payloads}) == len({p["receipt_id"] for p in payloads}) == 200
    assert {p["issued_at"] for p in payloads} == {"2031-05-03T12:00:00Z"}
    assert house.clock.now() == NOW
