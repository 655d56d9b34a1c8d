"""Webhooks are registered, changed, listed and deleted by their own account alone."""

import asyncio
from base64 import b64decode
from uuid import uuid4

import pytest

from services.webhooks.events import EVENTS
from services.webhooks.key_ring import SealingKeyError
from shared.errors import (
    ConflictError,
    ForbiddenError,
    InvalidFieldError,
    MalformedRequestError,
    NotFoundError,
    TooLargeError,
)
from tests.webhooks.house import A, B, House, Street

HOOK = "https://hooks.example/llmring"


async def test_a_webhook_is_registered_as_the_specification_has_it(house: House) -> None:
    made = await house.call(
        "POST", body={"url": HOOK, "events": ["price.changed", "model.added", "model.added"], "more": 1}
    )
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert len(b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert (made["url"], made["events"]) == (HOOK, ["model.added", "price.changed"])
    assert (made["status"], made["description"], made["disabled_reason"]) == ("enabled", None, None)
    assert await house.call("GET") == {"webhooks": [made]}
    assert await house.call("GET", f"/{made['id']}") == made
    async with house.database.connection() as connection:
        stored = bytes(await connection.fetchval("SELECT secret FROM webhooks.endpoints"))
    assert b64decode(secret.removeprefix("whsec_")) not in stored


async def test_a_webhook_is_changed_disabled_and_deleted(house: House) -> None:
    made = await house.register(HOOK, "model.added")
    path = f"/{made['id']}"
    house.advance(minutes=1)
    assert (await house.call("PATCH", path, {}))["updated_at"] == made["updated_at"]
    changed = await house.call(
        "PATCH", path, {"url": HOOK + "2", "events": ["budget.threshold"], "description": "ours"}
    )
    assert (changed["url"], changed["events"], changed["description"]) == (
        HOOK + "2",
        ["budget.threshold"],
        "ours",
    )
    assert (await house.call("PATCH", path, {"description": None}))["description"] is None
    disabled = await house.call("PATCH", path, {"status": "disabled"})
    assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", None)
    assert disabled["disabled_at"] is not None
    with pytest.raises(ConflictError, match="disabled"):
        await house.call("POST", f"{path}/test")
    enabled = await house.call("PATCH", path, {"status": "enabled"})
    assert (enabled["status"], enabled["disabled_at"]) == ("enabled", None)
    assert await house.call("DELETE", path) is None
    assert await house.call("GET") == {"webhooks": []}


WRONG: list[tuple[object, list[str]]] = [
    ({}, ["url", "events"]),
    ({"url": HOOK, "events": []}, ["events"]),
    ({"url": HOOK, "events": "model.added"}, ["events"]),
    ({"url": 7, "events": ["model.added"]}, ["url"]),
    ({"url": HOOK, "events": ["model.added", "model.exploded"]}, ["events"]),
    ({"url": HOOK, "events": ["webhook.test"]}, ["events"]),
    (
        {"url": "https://127.0.0.1/", "events": ["no.such"], "description": "a\0b"},
        ["url", "events", "description"],
    ),
    ({"url": HOOK, "events": ["model.added"], "description": "x" * 256}, ["description"]),
    *(
        ({"url": url, "events": ["model.added"]}, ["url"])
        for url in (
            *("http://hooks.example/", "hooks.example", "https://", "https://user:pw@hooks.example/"),
            *("https://localhost/", "https://10.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/"),
            *("https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://localhost./"),
            *("https://169.254.169.254/latest/meta-data", "https://a b/", "https://h/#f", "https://h:0/"),
            "https://hooks.example/" + "a" * 2_048,
        )
    ),
]


async def test_every_field_that_is_wrong_is_named(street: Street) -> None:
    house = await street.open_house(allow_private=False)
    for body, fields in WRONG:
        with pytest.raises(InvalidFieldError) as caught:
            await house.call("POST", body=body)
        assert [fault.field for fault in caught.value.faults] == fields, body
    assert await house.call("GET") == {"webhooks": []}


async def test_an_unknown_event_is_answered_with_the_known_ones_and_a_change_is_checked_too(
    house: House,
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        await house.register(HOOK, "model.exploded")
    assert all(event in caught.value.detail for event in EVENTS)
    made = await house.register(HOOK, "model.added")
    for change in (
        {"events": ["x"]},
        {"url": "ftp://a/"},
        {"status": "gone"},
        {"status": None},
        {"url": None},
    ):
        with pytest.raises(InvalidFieldError):
            await house.call("PATCH", f"/{made['id']}", change)
    with pytest.raises(MalformedRequestError):
        await house.call("PATCH", f"/{made['id']}", b"{")
    with pytest.raises(TooLargeError):
        await house.call("POST", body=b" " * 70_000)


async def test_what_belongs_to_another_account_is_not_there(house: House) -> None:
    made = await house.register(HOOK, "model.added")
    message = (await house.call("POST", f"/{made['id']}/test"))["message_id"]
    for endpoint, account in ((made["id"], B), (uuid4(), A)):
        for method, path, body in (
            ("GET", "", None),
            ("PATCH", "", {"status": "disabled"}),
            ("DELETE", "", None),
            ("POST", "/rotate-secret", None),
            ("POST", "/test", None),
            ("GET", "/deliveries", None),
            ("POST", f"/deliveries/{message}/redeliver", None),
        ):
            with pytest.raises(NotFoundError) as caught:
                await house.call(method, f"/{endpoint}{path}", body, account=account)
            assert caught.value.detail == "There is no such webhook."
    with pytest.raises(NotFoundError, match="message"):
        await house.call("POST", f"/{made['id']}/deliveries/{uuid4()}/redeliver")
    with pytest.raises(NotFoundError):
        await house.call("GET", "/not-a-uuid")
    assert await house.call("GET", account=B) == {"webhooks": []}
    assert len((await house.call("GET"))["webhooks"]) == 1


async def test_reading_needs_read_and_writing_needs_admin(house: House) -> None:
    made = await house.register(HOOK, "model.added")
    one = f"/{made['id']}"
    for method, path, scope in (
        ("GET", "", "read"),
        ("GET", one, "read"),
        ("GET", f"{one}/deliveries", "read"),
        ("POST", "", "admin"),
        ("PATCH", one, "admin"),
        ("DELETE", one, "admin"),
        ("POST", f"{one}/rotate-secret", "admin"),
        ("POST", f"{one}/test", "admin"),
        ("POST", f"{one}/deliveries/{uuid4()}/redeliver", "admin"),
    ):
        others = tuple(each for each in ("log", "read", "admin", "operator") if each != scope)
        with pytest.raises(ForbiddenError, match=scope):
            await house.call(method, path, {"url": HOOK, "events": ["model.added"]}, scopes=others)


async def test_an_account_has_as_many_webhooks_as_it_may_however_many_are_made_at_once(
    street: Street,
) -> None:
    house = await street.open_house(endpoints_per_account=3)
    answers = await asyncio.gather(
        *(house.register(HOOK, "model.added") for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(each, ConflictError) for each in answers) == 5
    assert len((await house.call("GET"))["webhooks"]) == 3
    await house.register(HOOK, "model.added", account=B)


async def test_secrets_are_opened_with_the_key_they_were_sealed_with_or_nothing_starts(
    street: Street,
) -> None:
    await street.open_house()
    [key] = (street.data_dir / "webhooks").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    await street.open_house()
    with pytest.raises(SealingKeyError, match="restore"):
        await street.open_house(sealing_keys=("A" * 43 + "=",))
    with pytest.raises(SealingKeyError, match="32 bytes"):
        await street.open_house(sealing_keys=("c2hvcnQ=",))
    key.rename(key.with_name("elsewhere"))
    with pytest.raises(SealingKeyError, match="never made in its place"):
        await street.open_house()
