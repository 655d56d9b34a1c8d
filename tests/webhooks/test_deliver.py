"""Messages arrive: signed, at least once, with ever longer pauses, and all of it can be read."""

import asyncio
from datetime import datetime, timedelta

import pytest
from aiohttp import web
from standardwebhooks import WebhookVerificationError

from services.webhooks.retention import DeliveryRetention
from services.webhooks.schedule import DELAYS
from shared.web.guarded import GuardedOutbound
from tests.webhooks.house import House, Street
from tests.webhooks.receiver import Received, Receiver, answer_with, take


async def test_a_message_arrives_signed_and_is_written_down(house: House, receiver: Receiver) -> None:
    receiver.answer = answer_with(200, "thanks " * 500)
    endpoint = await house.register(receiver.url, "model.added")
    message = await house.send_test(endpoint)
    assert await house.deliver() == 1
    [received] = receiver.received
    assert received.verify(endpoint["secret"]) == received.message
    assert received.message["type"] == "webhook.test"
    assert received.message["data"] == {"webhook_id": endpoint["id"]}
    assert received.id == message
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == "LLMRing-Webhooks/1"
    with pytest.raises(WebhookVerificationError):
        received._replace(body=received.body + b" ").verify(endpoint["secret"])
    [delivery] = await house.log(endpoint)
    [attempt] = delivery.pop("attempts")
    assert delivery == {
        "message_id": message,
        "type": "webhook.test",
        "status": "delivered",
        "created_at": delivery["created_at"],
        "next_attempt_at": None,
    }
    assert (attempt["http_status"], attempt["error"]) == (200, None)
    assert attempt["response"] == ("thanks " * 500)[:1024]
    assert attempt["duration_ms"] >= 0
    assert await house.deliver() == 0


async def test_a_message_is_tried_for_a_day_with_one_id_and_then_given_up(
    house: House, receiver: Receiver
) -> None:
    receiver.answer = answer_with(500, "not today")
    endpoint = await house.register(receiver.url, "model.added")
    message = await house.send_test(endpoint)
    started = house.clock.at
    for tries in range(1, len(DELAYS) + 2):
        assert await house.deliver() == 1, tries
        assert await house.deliver() == 0, "not before its time"
        [delivery] = await house.log(endpoint)
        assert len(delivery["attempts"]) == tries
        if delivery["next_attempt_at"] is not None:
            due = datetime.fromisoformat(delivery["next_attempt_at"])
            assert 0.8 * DELAYS[tries - 1] <= due - house.clock.at <= DELAYS[tries - 1]
            house.clock.at = due
    assert delivery["status"] == "failed"
    assert delivery["next_attempt_at"] is None
    assert {each.id for each in receiver.received} == {message}
    assert len({each.headers["webhook-timestamp"] for each in receiver.received}) == len(DELAYS) + 1
    assert house.clock.at - started >= 0.8 * sum(DELAYS, timedelta())
    assert (await house.look_at(endpoint))["failing_since"] is not None
    assert [each["message_id"] for each in await house.log(endpoint, status="failed")] == [message]
    assert await house.log(endpoint, status="pending") == []
    receiver.answer = take
    await house.call("POST", f"/{endpoint['id']}/deliveries/{message}/redeliver")
    assert await house.deliver() == 1
    assert receiver.received[-1].id == message
    [delivery] = await house.log(endpoint)
    assert (delivery["status"], len(delivery["attempts"])) == ("delivered", len(DELAYS) + 2)
    assert (await house.look_at(endpoint))["failing_since"] is None


async def test_whatever_is_not_2xx_is_tried_again_and_no_redirect_followed(
    house: House, receiver: Receiver
) -> None:
    statuses = (300, 301, 307, 400, 404, 429, 503)
    endpoint = await house.register(receiver.url, "model.added")
    for status in statuses:
        receiver.answer = answer_with(status, location="/elsewhere", retry_after="600")
        await house.send_test(endpoint)
        assert await house.deliver() == 1
        delivery = (await house.log(endpoint))[0]
        assert (delivery["status"], delivery["attempts"][0]["http_status"]) == ("pending", status)
        assert (datetime.fromisoformat(delivery["next_attempt_at"]) - house.clock.at).total_seconds() == 600
    assert {each.path for each in receiver.received} == {"/hook"}
    assert len(receiver.received) == len(statuses)


async def test_what_does_not_answer_is_told_and_tried_again(street: Street, receiver: Receiver) -> None:
    house = await street.open_house(timeout_s=0.3)
    release = asyncio.Event()

    async def hang(_: Received) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answer = hang
    slow = await house.register(receiver.url, "model.added")
    nobody = await house.register("http://127.0.0.1:1/", "model.added")
    for endpoint, why in ((slow, "in time"), (nobody, "no connection")):
        await house.send_test(endpoint)
        await house.deliver()
        [delivery] = await house.log(endpoint)
        [attempt] = delivery["attempts"]
        assert (delivery["status"], attempt["http_status"], attempt["response"]) == ("pending", None, None)
        assert why in attempt["error"]
    release.set()


async def test_an_attempt_that_nobody_thought_of_counts_as_a_failed_one(
    street: Street, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await street.open_house(disable_after_s=86_400)
    endpoint = await house.register(receiver.url, "model.added")

    def broken(*_: object, **__: object) -> None:
        raise OverflowError

    async def break_off(*_: object) -> None:
        raise OverflowError

    receiver.answer = answer_with(503, "busy")
    message = await house.send_test(endpoint)
    with monkeypatch.context() as patch:
        patch.setattr("services.webhooks.deliver.parse_retry_after", broken)
        assert await house.deliver() == 1
    house.advance(seconds=5)
    with monkeypatch.context() as patch:
        patch.setattr(GuardedOutbound, "post", break_off)
        assert await house.deliver() == 1
    [delivery] = await house.log(endpoint)
    assert (delivery["status"], [each.id for each in receiver.received]) == ("pending", [message])
    for attempt in delivery["attempts"]:
        assert (attempt["http_status"], attempt["response"]) == (None, None)
        assert "internal error" in attempt["error"]
    assert len(delivery["attempts"]) == 2
    assert timedelta(seconds=24) <= datetime.fromisoformat(delivery["next_attempt_at"]) - house.clock.at
    house.advance(days=1)
    with monkeypatch.context() as patch:
        patch.setattr("services.webhooks.deliver.parse_retry_after", broken)
        assert await house.deliver() == 1
    assert (await house.look_at(endpoint))["disabled_reason"] == "failing"


async def test_a_rotated_secret_and_the_one_before_both_sign_for_a_day(
    house: House, receiver: Receiver
) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    rotated = await house.call("POST", f"/{endpoint['id']}/rotate-secret")
    shown = await house.look_at(endpoint)
    assert rotated["previous_secret_until"] == shown["previous_secret_until"]
    assert rotated["secret"] != endpoint["secret"]
    await house.send_test(endpoint)
    await house.deliver()
    for secret in (endpoint["secret"], rotated["secret"]):
        assert receiver.received[0].verify(secret)
    assert len(receiver.received[0].headers["webhook-signature"].split(" ")) == 2
    again = await house.call("POST", f"/{endpoint['id']}/rotate-secret")
    await house.send_test(endpoint)
    await house.deliver()
    assert receiver.received[1].verify(again["secret"])
    assert receiver.received[1].verify(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        receiver.received[1].verify(endpoint["secret"])
    house.advance(hours=24)
    assert (await house.look_at(endpoint))["previous_secret_until"] is None
    await house.send_test(endpoint)
    await house.deliver()
    assert len(receiver.received[2].headers["webhook-signature"].split(" ")) == 1


async def test_the_log_is_read_page_by_page_newest_first(house: House, receiver: Receiver) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    sent = []
    for number in range(7):
        house.advance(seconds=number % 2)
        sent.append(await house.send_test(endpoint))
    found: list[str] = []
    cursor = ""
    while True:
        page = await house.call("GET", f"/{endpoint['id']}/deliveries?limit=3{cursor}")
        found += [each["message_id"] for each in page["deliveries"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == sent[::-1]


async def test_old_deliveries_are_forgotten_and_what_is_on_its_way_is_not(
    house: House, receiver: Receiver
) -> None:
    retention = DeliveryRetention(house.database, house.clock, timedelta(days=30), batch=3)
    endpoint = await house.register(receiver.url, "model.added")
    for _ in range(8):
        await house.send_test(endpoint)
    await house.deliver()
    receiver.answer = answer_with(500)
    waiting = await house.send_test(endpoint)
    await house.deliver()
    assert await retention.sweep() == 0
    house.advance(days=31)
    recent = await house.send_test(endpoint)
    assert await retention.sweep() == 16
    assert [each["message_id"] for each in await house.log(endpoint)] == [recent, waiting]
    async with house.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM webhooks.messages") == 2
        assert await connection.fetchval("SELECT count(*) FROM webhooks.attempts") == 1


async def test_a_secret_that_cannot_be_opened_holds_nobody_up(house: House, receiver: Receiver) -> None:
    broken = await house.register(receiver.url, "model.added")
    good = await house.register(receiver.url, "model.added")
    async with house.database.connection() as connection:
        await connection.execute(
            "UPDATE webhooks.endpoints SET secret = set_byte(secret, 30, 255 - get_byte(secret, 30)) "
            "WHERE endpoint_id = $1::text::uuid",
            broken["id"],
        )
    await house.send_test(broken)
    message = await house.send_test(good)
    await house.deliver()
    assert [each.id for each in receiver.received] == [message]
    assert (await house.look_at(broken))["failing_since"] is None, "the fault is ours"
