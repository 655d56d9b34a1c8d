"""A webhook that takes nothing, or that nobody wants any more, is sent nothing."""

import json

import pytest

from shared.contracts.topics import WEBHOOKS_DISABLED
from shared.errors import ConflictError
from tests.receipts.event_log import read_all
from tests.webhooks.house import A, B, House, Street
from tests.webhooks.receiver import Receiver, answer_with, take


async def test_a_webhook_that_is_gone_is_disabled_at_once_and_the_others_are_told(
    house: House, receiver: Receiver, street: Street
) -> None:
    other = await Receiver().open(street.stack)
    gone = await house.register(receiver.url, "model.added", "webhook.disabled")
    watch = await house.register(other.url, "webhook.disabled")
    await house.register(other.url, "model.added")
    await house.register(other.url, "webhook.disabled", account=B)
    receiver.answer = answer_with(410)
    first, second = await house.send_test(gone), await house.send_test(gone)
    house.advance(seconds=1)
    await house.deliver()
    shown = await house.look_at(gone)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "gone")
    log = await house.log(gone)
    assert {each["message_id"]: each["status"] for each in log} == {first: "failed", second: "failed"}
    [told] = other.received
    assert told.verify(watch["secret"])["data"] == {
        "webhook_id": gone["id"],
        "url": receiver.url,
        "reason": "gone",
        "disabled_at": shown["disabled_at"],
    }
    [event] = [json.loads(each.value or b"") for each in await read_all(house.event_log, WEBHOOKS_DISABLED)]
    assert event.pop("event_id") == told.id
    assert event == {
        "v": 1,
        "account_id": str(A),
        "webhook_id": gone["id"],
        "host": "127.0.0.1",
        "reason": "gone",
        "disabled_at": shown["disabled_at"],
    }
    with pytest.raises(ConflictError):
        await house.call("POST", f"/{gone['id']}/deliveries/{first}/redeliver")
    receiver.answer = take
    await house.call("PATCH", f"/{gone['id']}", {"status": "enabled"})
    await house.call("POST", f"/{gone['id']}/deliveries/{first}/redeliver")
    assert await house.deliver() == 1
    assert receiver.received[-1].id == first


async def test_a_webhook_that_fails_for_days_is_disabled_and_one_success_begins_anew(
    house: House, receiver: Receiver
) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    receiver.answer = answer_with(500)
    await house.send_test(endpoint)
    await house.deliver()
    house.advance(days=4)
    receiver.answer = take
    await house.deliver()
    receiver.answer = answer_with(500)
    for days in (1, 4.9):
        await house.send_test(endpoint)
        house.advance(days=days)
        await house.deliver()
        assert (await house.look_at(endpoint))["status"] == "enabled"
    house.advance(days=0.2)
    await house.deliver()
    shown = await house.look_at(endpoint)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "failing")
    assert await house.deliver() == 0
    house.advance(days=1)
    assert await house.deliver() == 0


async def test_disabling_by_hand_gives_up_what_is_on_its_way(house: House, receiver: Receiver) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    await house.send_test(endpoint)
    await house.call("PATCH", f"/{endpoint['id']}", {"status": "disabled"})
    assert await house.deliver() == 0
    [delivery] = await house.log(endpoint)
    assert (delivery["status"], delivery["attempts"], receiver.received) == ("failed", [], [])


async def test_a_deleted_webhook_is_sent_nothing(house: House, receiver: Receiver) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    await house.send_test(endpoint)
    await house.call("DELETE", f"/{endpoint['id']}")
    assert await house.deliver() == 0
    assert receiver.received == []
