"""What a registry version changed is told once to every account that wants it, whatever is read twice."""

import json
from datetime import timedelta
from typing import Any

import pytest

from shared.contracts.topics import REGISTRY_PUBLISHED, USAGE_DEAD
from shared.errors import UnavailableError
from shared.event_log.port import FencedError, Slice, StoredRecord
from tests.receipts.event_log import read_all
from tests.webhooks.house import A, B, House, Street, published

PRICE = {"type": "price.changed", "model": "acme:m", "field": "input", "old": 0.1, "new": 0.15}
ADDED = {"type": "model.added", "model": "acme:n"}


async def told(house: House) -> list[tuple[str, Any]]:
    """Each delivery's message with the endpoint that it goes to, in the order of types and parts."""
    async with house.database.connection() as connection:
        rows = await connection.fetch(
            """SELECT endpoint_id, body FROM webhooks.deliveries JOIN webhooks.messages USING (message_id)
                ORDER BY type, convert_from(body, 'UTF8')::jsonb -> 'data' -> 'part', endpoint_id"""
        )
    return [(str(row["endpoint_id"]), json.loads(row["body"])) for row in rows]


async def count(house: House, table: str) -> int:
    async with house.database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM webhooks.{table}"))


async def test_each_type_is_one_message_to_whoever_wants_it(house: House) -> None:
    first = await house.register("http://one.example/", "price.changed", "model.added")
    other = await house.register("http://two.example/", "price.changed", account=B)
    await house.register("http://three.example/", "model.removed")
    off = await house.register("http://four.example/", "price.changed")
    await house.call("PATCH", f"/{off['id']}", {"status": "disabled"})
    house.advance(seconds=1)
    renamed = {"type": "model.changed", "model": "acme:m", "field": "display_name", "old": "a", "new": "b"}
    await house.publish("2031.05.03", PRICE, ADDED, renamed, PRICE | {"model": "acme:o"})
    stamp = house.clock.at.isoformat().replace("+00:00", "Z")
    common = {"version": "2031.05.03", "effective_from": stamp, "base": None, "part": 1, "parts": 1}
    added = {"type": "model.added", "timestamp": stamp, "data": common | {"changes": [ADDED]}}
    price = {
        "type": "price.changed",
        "timestamp": stamp,
        "data": common | {"changes": [PRICE, PRICE | {"model": "acme:o"}]},
    }
    assert await told(house) == [(first["id"], added), (first["id"], price), (other["id"], price)]
    assert await count(house, "messages") == 2


async def test_a_version_that_is_told_of_again_is_told_of_once(house: House) -> None:
    await house.register("http://one.example/", "price.changed")
    house.advance(seconds=1)
    await house.publish("2031.05.03", PRICE)
    before = await told(house)
    await house.take(published("2031.05.03", house.clock.at), published("2031.05.03", house.clock.at))
    assert await told(house) == before
    house.offsets.clear()
    with pytest.raises(FencedError):
        await house.take(published("2031.05.03", house.clock.at))
    assert await told(house) == before


async def test_numbers_pass_with_all_their_digits(house: House) -> None:
    await house.register("http://one.example/", "price.changed")
    house.advance(seconds=1)
    house.registry.add("2031.05.03", [PRICE], house.clock.at)
    exact = b'"new":0.10000000000000000000000000001'
    house.registry.versions["2031.05.03"] = house.registry.versions["2031.05.03"].replace(
        b'"new": 0.15', exact
    )
    await house.take(published("2031.05.03", house.clock.at))
    async with house.database.connection() as connection:
        assert exact in bytes(await connection.fetchval("SELECT body FROM webhooks.messages"))


async def test_many_changes_go_into_parts_of_a_hundred(house: House) -> None:
    await house.register("http://one.example/", "price.changed", "model.added")
    house.advance(seconds=1)
    many = [PRICE | {"model": f"acme:{number}"} for number in range(250)]
    await house.publish("2031.05.03", *many, ADDED)
    data = [message["data"] for _, message in await told(house) if message["type"] == "price.changed"]
    assert [(each["part"], each["parts"], len(each["changes"])) for each in data] == [
        (1, 3, 100),
        (2, 3, 100),
        (3, 3, 50),
    ]
    assert [change for each in data for change in each["changes"]] == many


async def test_nobody_is_told_what_happened_before_he_asked(house: House) -> None:
    old = house.clock.at - timedelta(hours=1)
    await house.publish("2031.05.01", PRICE, at=old)
    await house.register("http://one.example/", "price.changed")
    await house.publish("2031.05.02", PRICE, at=old)
    assert await told(house) == []
    assert house.registry.asked == [], "nobody wants to know, so nobody asks"
    house.advance(seconds=1)
    await house.publish("2031.05.03", PRICE)
    assert [message["data"]["version"] for _, message in await told(house)] == ["2031.05.03"]


async def test_while_the_registry_is_away_nothing_is_passed_over(house: House) -> None:
    await house.register("http://one.example/", "price.changed")
    house.advance(seconds=1)
    house.registry.failure = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await house.publish("2031.05.03", PRICE)
    assert (await count(house, "positions"), await told(house)) == (0, [])
    house.registry.failure = None
    await house.take(published("2031.05.03", house.clock.at))
    assert len(await told(house)) == 1


async def test_a_version_that_an_instance_does_not_know_yet_is_waited_for_but_not_for_ever(
    house: House,
) -> None:
    await house.register("http://one.example/", "price.changed")
    house.advance(seconds=1)
    at = house.clock.at
    with pytest.raises(UnavailableError, match=r"2031\.05\.03 yet"):
        await house.take(published("2031.05.03", at))
    house.clock.at = at + timedelta(minutes=2)
    record = StoredRecord("registry.published", 0, 0, b"registry", published("2031.05.03", at), (), at)
    await house.takers[REGISTRY_PUBLISHED].take(Slice("registry.published", 0, (record,), 0))
    assert (await count(house, "positions"), await told(house)) == (1, [])


async def test_what_cannot_be_read_is_set_aside(house: House) -> None:
    await house.register("http://one.example/", "price.changed")
    house.advance(seconds=1)
    house.registry.add("2031.05.03", [PRICE], house.clock.at)
    await house.take(b"{", b"\xff", b'{"v":1}', published("2031.05.03", house.clock.at))
    assert len(await told(house)) == 1
    dead = await read_all(house.event_log, USAGE_DEAD, wait_for=3)
    assert {dict(each.headers)["dead-letter-topic"] for each in dead} == {b"registry.published"}


async def test_several_members_of_the_group_tell_once(street: Street) -> None:
    houses = [await street.open_house() for _ in range(2)]
    await houses[0].register("http://one.example/", "price.changed", account=A)
    for house in houses:
        house.advance(seconds=1)
        house.registry.add("2031.05.03", [PRICE], houses[0].clock.at)
    await houses[0].take(published("2031.05.03", houses[0].clock.at))
    with pytest.raises(FencedError):
        await houses[1].take(published("2031.05.03", houses[0].clock.at))
    assert len(await told(houses[1])) == 1
