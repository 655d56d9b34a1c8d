"""Whatever somebody does to a webhook is told, once and for the audit log, and never with a secret."""

import json

import pytest

from services.webhooks.note_change import SCHEMA
from shared.contracts.keys import Principal
from shared.errors import ConflictError, InvalidFieldError, LLMRingError, NotFoundError, UnavailableError
from shared.event_log.outbox import Outbox
from shared.postgres import Connection
from tests.webhooks.house import A, B, House
from tests.webhooks.receiver import Receiver


async def test_every_change_is_told_with_who_from_where_before_and_after(
    house: House, receiver: Receiver
) -> None:
    hook = await house.register(f"{receiver.url}/T0/s3cret", "model.added")
    path = f"/{hook['id']}"
    message = await house.send_test(hook)
    await house.deliver()
    await house.call("POST", f"{path}/deliveries/{message}/redeliver")
    await house.call("PATCH", path, {"url": f"{receiver.url}/T1/s3cret", "description": "of the shop"})
    await house.call("PATCH", path, {"status": "disabled"})
    await house.call("PATCH", path, {"status": "disabled"})
    await house.call("PATCH", path, {"status": "enabled", "events": ["price.changed", "model.added"]})
    rotated = await house.call("POST", f"{path}/rotate-secret", scopes=("read", "admin", "session"))
    await house.call("DELETE", path)

    told = await house.told()
    begin = {"host": "127.0.0.1", "events": ["model.added"], "description": None, "status": "enabled"}
    end = begin | {"events": ["model.added", "price.changed"], "description": "of the shop"}
    assert [(each["action"], each["before"], each["after"]) for each in told] == [
        ("webhook.created", None, begin),
        ("webhook.redelivered", None, {"message_id": message, "type": "webhook.test"}),
        (
            "webhook.changed",
            {"host": "127.0.0.1", "description": None},
            {"host": "127.0.0.1", "description": "of the shop"},
        ),
        ("webhook.changed", {"status": "enabled"}, {"status": "disabled"}),
        (
            "webhook.changed",
            {"events": ["model.added"], "status": "disabled"},
            {"events": ["model.added", "price.changed"], "status": "enabled"},
        ),
        ("webhook.secret_rotated", None, {"previous_secret_until": rotated["previous_secret_until"]}),
        ("webhook.deleted", end, None),
    ]
    by = Principal(account_id=A, key_id=house.key_id, scopes=())
    for each in told:
        assert (each["account_id"], each["webhook_id"]) == (str(by.account_id), hook["id"])
        assert (each["actor_id"], each["client"]) == (str(by.key_id), "198.51.100.7")
    assert [each["actor"] for each in told] == ["key"] * 5 + ["session", "key"]
    assert len({each["event_id"] for each in told}) == len(told)
    for secret in ("s3cret", hook["secret"].removeprefix("whsec_"), rotated["secret"].removeprefix("whsec_")):
        assert secret not in json.dumps(told)


async def test_what_is_refused_is_not_told(house: House, receiver: Receiver) -> None:
    hook = await house.register(receiver.url, "model.added")
    await house.call("PATCH", f"/{hook['id']}", {"status": "disabled"})
    before = await house.told()
    for method, path, body, account, error in (
        ("POST", "", {"url": "ftp://x", "events": []}, A, InvalidFieldError),
        ("PATCH", f"/{hook['id']}", {"events": ["no.such"]}, A, InvalidFieldError),
        ("PATCH", f"/{hook['id']}", {"description": "mine"}, B, NotFoundError),
        ("POST", f"/{hook['id']}/rotate-secret", None, B, NotFoundError),
        ("DELETE", f"/{hook['id']}", None, B, NotFoundError),
        ("POST", f"/{hook['id']}/deliveries/{hook['id']}/redeliver", None, A, ConflictError),
    ):
        with pytest.raises(error):
            await house.call(method, path, body, account=account)
    assert await house.told() == before


async def test_a_change_that_cannot_be_told_is_not_made(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(connection: Connection, schema: str, event: object) -> None:
        raise UnavailableError("The database is away.")

    hook = await house.register(receiver.url, "model.added")
    monkeypatch.setattr("services.webhooks.note_change.insert_event", fail)
    for method, path, body in (
        ("POST", "", {"url": receiver.url, "events": ["model.added"]}),
        ("PATCH", f"/{hook['id']}", {"status": "disabled"}),
        ("POST", f"/{hook['id']}/rotate-secret", None),
        ("DELETE", f"/{hook['id']}", None),
    ):
        with pytest.raises(UnavailableError):
            await house.call(method, path, body)
    shown = {name: value for name, value in hook.items() if name != "secret"}
    assert (await house.call("GET"))["webhooks"] == [shown]


async def test_while_the_event_log_is_away_changes_hold_and_are_told_later(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(topic: str, records: object) -> None:
        raise UnavailableError("The event log is away.")

    hook = await house.register(receiver.url, "model.added")
    outbox = Outbox(house.database, house.event_log, house.clock, schema=SCHEMA, topic="webhooks.changed")
    with monkeypatch.context() as patch:
        patch.setattr(house.event_log, "append", fail)
        with pytest.raises(LLMRingError):
            await outbox.publish_left_over()
    assert [each["webhook_id"] for each in await house.told()] == [hook["id"]]
    assert await outbox.publish_left_over() == 0
