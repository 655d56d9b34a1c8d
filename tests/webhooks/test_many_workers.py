"""Several processes deliver at once, and one of them dies; none stands in another one's way."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

from aiohttp import web

from shared.clock import FixedClock
from tests.webhooks.house import Street
from tests.webhooks.receiver import Received, Receiver, take


async def test_a_worker_that_dies_leaves_its_messages_to_another_after_a_while(
    street: Street, receiver: Receiver
) -> None:
    clock = FixedClock(datetime.now(UTC))
    dying, living = await street.open_house(clock=clock), await street.open_house(clock=clock)
    endpoint = await dying.register(receiver.url, "model.added")
    message = await dying.send_test(endpoint)
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
    await slow.send_test(endpoint)
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
    assert (await slow.look_at(endpoint))["failing_since"] is None


async def test_two_workers_at_once_deliver_each_message_once(street: Street, receiver: Receiver) -> None:
    houses = [await street.open_house(at_once=8, at_once_per_endpoint=2) for _ in range(2)]
    endpoints = [await houses[0].register(receiver.url, "model.added") for _ in range(5)]
    sent = [await houses[0].send_test(endpoint) for _ in range(12) for endpoint in endpoints]
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
            await house.send_test(endpoint)
    for _ in range(6):
        await house.send_test(quick)
    stop = asyncio.Event()
    worker = asyncio.create_task(house.deliverer.run(stop))
    await other.wait_for(6)
    assert most == len(receiver.received) == 4
    release.set()
    await receiver.wait_for(20)
    stop.set()
    await worker
