"""Messages arrive: signed, at least once, with ever longer pauses, and none stands in another one's way."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import WebhookVerificationError

from services.webhooks.retention import DeliveryRetention
from services.webhooks.schedule import DELAYS
from shared.clock import FixedClock
from shared.contracts.topics import WEBHOOKS_DISABLED
from shared.errors import ConflictError
from tests.receipts.event_log import read_all
from tests.webhooks.house import A, B, House, Street
from tests.webhooks.receiver import Received, Receiver, answer_with, take


async def send_test(house: House, endpoint: Any) -> str:
    sent = await house.call("POST", f"/{endpoint['id']}/test")
    assert sent["type"] == "webhook.test"
    return str(sent["message_id"])


async def get(house: House, endpoint: Any) -> Any:
    return await house.call("GET", f"/{endpoint['id']}")


async def test_a_message_arrives_signed_and_is_written_down(house: House, receiver: Receiver) -> None:
    receiver.answer = answer_with(200, "thanks " * 500)
    endpoint = await house.register(receiver.url, "model.added")
    message = await send_test(house, endpoint)
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
    message = await send_test(house, endpoint)
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
    assert (await get(house, endpoint))["failing_since"] is not None
    assert [each["message_id"] for each in await house.log(endpoint, status="failed")] == [message]
    assert await house.log(endpoint, status="pending") == []
    receiver.answer = take
    await house.call("POST", f"/{endpoint['id']}/deliveries/{message}/redeliver")
    assert await house.deliver() == 1
    assert receiver.received[-1].id == message
    [delivery] = await house.log(endpoint)
    assert (delivery["status"], len(delivery["attempts"])) == ("delivered", len(DELAYS) + 2)
    assert (await get(house, endpoint))["failing_since"] is None


async def test_whatever_is_not_2xx_is_tried_again_and_no_redirect_followed(
    house: House, receiver: Receiver
) -> None:
    statuses = (300, 301, 307, 400, 404, 429, 503)
    endpoint = await house.register(receiver.url, "model.added")
    for status in statuses:
        receiver.answer = answer_with(status, location="/elsewhere", retry_after="600")
        await send_test(house, endpoint)
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
        await send_test(house, endpoint)
        await house.deliver()
        [delivery] = await house.log(endpoint)
        [attempt] = delivery["attempts"]
        assert (delivery["status"], attempt["http_status"], attempt["response"]) == ("pending", None, None)
        assert why in attempt["error"]
    release.set()


async def test_a_rotated_secret_and_the_one_before_both_sign_for_a_day(
    house: House, receiver: Receiver
) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    rotated = await house.call("POST", f"/{endpoint['id']}/rotate-secret")
    shown = await get(house, endpoint)
    assert rotated["previous_secret_until"] == shown["previous_secret_until"]
    assert rotated["secret"] != endpoint["secret"]
    await send_test(house, endpoint)
    await house.deliver()
    for secret in (endpoint["secret"], rotated["secret"]):
        assert receiver.received[0].verify(secret)
    assert len(receiver.received[0].headers["webhook-signature"].split(" ")) == 2
    again = await house.call("POST", f"/{endpoint['id']}/rotate-secret")
    await send_test(house, endpoint)
    await house.deliver()
    assert receiver.received[1].verify(again["secret"])
    assert receiver.received[1].verify(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        receiver.received[1].verify(endpoint["secret"])
    house.advance(hours=24)
    assert (await get(house, endpoint))["previous_secret_until"] is None
    await send_test(house, endpoint)
    await house.deliver()
    assert len(receiver.received[2].headers["webhook-signature"].split(" ")) == 1


async def test_a_webhook_that_is_gone_is_disabled_at_once_and_the_others_are_told(
    house: House, receiver: Receiver, street: Street
) -> None:
    other = await Receiver().open(street.stack)
    gone = await house.register(receiver.url, "model.added", "webhook.disabled")
    watch = await house.register(other.url, "webhook.disabled")
    await house.register(other.url, "model.added")
    await house.register(other.url, "webhook.disabled", account=B)
    receiver.answer = answer_with(410)
    first, second = await send_test(house, gone), await send_test(house, gone)
    house.advance(seconds=1)
    await house.deliver()
    shown = await get(house, gone)
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
    await send_test(house, endpoint)
    await house.deliver()
    house.advance(days=4)
    receiver.answer = take
    await house.deliver()
    receiver.answer = answer_with(500)
    for days in (1, 4.9):
        await send_test(house, endpoint)
        house.advance(days=days)
        await house.deliver()
        assert (await get(house, endpoint))["status"] == "enabled"
    house.advance(days=0.2)
    await house.deliver()
    shown = await get(house, endpoint)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "failing")
    assert await house.deliver() == 0
    house.advance(days=1)
    assert await house.deliver() == 0


async def test_disabling_by_hand_gives_up_what_is_on_its_way(house: House, receiver: Receiver) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    await send_test(house, endpoint)
    await house.call("PATCH", f"/{endpoint['id']}", {"status": "disabled"})
    assert await house.deliver() == 0
    [delivery] = await house.log(endpoint)
    assert (delivery["status"], delivery["attempts"], receiver.received) == ("failed", [], [])


async def test_a_worker_that_dies_leaves_its_messages_to_another_after_a_while(
    street: Street, receiver: Receiver
) -> None:
    clock = FixedClock(datetime.now(UTC))
    dying, living = await street.open_house(clock=clock), await street.open_house(clock=clock)
    endpoint = await dying.register(receiver.url, "model.added")
    message = await send_test(dying, endpoint)
    hung = asyncio.Event()

    async def hang(_: Received) -> web.Response:
        hung.set()
        await asyncio.Event().wait()
        raise AssertionError

    receiver.answer = hang
    assert await dying.deliverer.start_due() == 1
    await hung.wait()
    for task in list(dying.deliverer._in_flight):
        task.cancel()
    receiver.answer = take
    assert await living.deliver() == 0, "the claim still holds"
    living.advance(seconds=41)
    assert await living.deliver() == 1
    assert [each.id for each in receiver.received] == [message, message]
    [delivery] = await living.log(endpoint)
    assert (delivery["status"], len(delivery["attempts"])) == ("delivered", 1)


async def test_whoever_lost_his_claim_changes_nothing_any_more(street: Street, receiver: Receiver) -> None:
    clock = FixedClock(datetime.now(UTC))
    slow, quick = await street.open_house(clock=clock), await street.open_house(clock=clock)
    endpoint = await slow.register(receiver.url, "model.added")
    await send_test(slow, endpoint)
    came, release = asyncio.Event(), asyncio.Event()

    async def wait(_: Received) -> web.Response:
        came.set()
        await release.wait()
        return web.Response(status=500)

    receiver.answer = wait
    assert await slow.deliverer.start_due() == 1
    await came.wait()
    receiver.answer = take
    clock.at = clock.at.replace(year=clock.at.year + 1)
    assert await quick.deliver() == 1
    release.set()
    await slow.deliverer.finish()
    [delivery] = await slow.log(endpoint)
    assert (delivery["status"], len(delivery["attempts"])) == ("delivered", 1)
    assert (await get(slow, endpoint))["failing_since"] is None


async def test_two_workers_at_once_deliver_each_message_once(street: Street, receiver: Receiver) -> None:
    houses = [await street.open_house(at_once=8, at_once_per_endpoint=2) for _ in range(2)]
    endpoints = [await houses[0].register(receiver.url, "model.added") for _ in range(5)]
    sent = [await send_test(houses[0], endpoint) for _ in range(12) for endpoint in endpoints]
    stop = asyncio.Event()
    workers = [asyncio.create_task(house.deliverer.run(stop)) for house in houses]
    await receiver.wait_for(len(sent))
    stop.set()
    await asyncio.gather(*workers)
    assert Counter(each.id for each in receiver.received) == Counter(sent)
    for endpoint in endpoints:
        assert {each["status"] for each in await houses[0].log(endpoint)} == {"delivered"}


async def test_a_slow_webhook_with_a_long_queue_does_not_stop_the_others(
    street: Street, receiver: Receiver
) -> None:
    house = await street.open_house(at_once=6, at_once_per_endpoint=2)
    release = asyncio.Event()
    running = most = 0

    async def hang(_: Received) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        return web.Response()

    other = await Receiver().open(street.stack)
    receiver.answer = hang
    slow = [await house.register(receiver.url, "model.added") for _ in range(2)]
    quick = await house.register(other.url, "model.added")
    for _ in range(10):
        for endpoint in slow:
            await send_test(house, endpoint)
    for _ in range(6):
        await send_test(house, quick)
    stop = asyncio.Event()
    worker = asyncio.create_task(house.deliverer.run(stop))
    await other.wait_for(6)
    assert most == len(receiver.received) == 4
    release.set()
    await receiver.wait_for(20)
    stop.set()
    await worker


async def test_the_log_is_read_page_by_page_newest_first(house: House, receiver: Receiver) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    sent = []
    for number in range(7):
        house.advance(seconds=number % 2)
        sent.append(await send_test(house, endpoint))
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
        await send_test(house, endpoint)
    await house.deliver()
    receiver.answer = answer_with(500)
    waiting = await send_test(house, endpoint)
    await house.deliver()
    assert await retention.sweep() == 0
    house.advance(days=31)
    recent = await send_test(house, endpoint)
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
    await send_test(house, broken)
    message = await send_test(house, good)
    await house.deliver()
    assert [each.id for each in receiver.received] == [message]
    assert (await get(house, broken))["failing_since"] is None, "the fault is ours"


async def test_a_deleted_webhook_is_sent_nothing(house: House, receiver: Receiver) -> None:
    endpoint = await house.register(receiver.url, "model.added")
    await send_test(house, endpoint)
    await house.call("DELETE", f"/{endpoint['id']}")
    assert await house.deliver() == 0
    assert receiver.received == []
