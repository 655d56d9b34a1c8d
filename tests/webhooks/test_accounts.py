"""What becomes of an account's webhooks when it is suspended, or was never its holder's."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.clock import rfc3339
from shared.contracts.topics import BUDGETS_CROSSED, KEYS_CHANGED, USAGE_DEAD
from tests.receipts.event_log import read_all
from tests.webhooks.house import A, B, House
from tests.webhooks.receiver import Received, Receiver, answer_with, take
from tests.webhooks.test_take_budgets import crossed


def changed(account: UUID, at: datetime, **more: Any) -> bytes:
    event = {"account_id": str(account), "key_ids": [], "changed_at": rfc3339(at)}
    return json.dumps(event | more).encode()


async def suspend(house: House, suspended: bool = True, *, account: UUID = A) -> None:
    house.advance(seconds=1)
    await house.take(changed(account, house.clock.at, suspended=suspended), topic=KEYS_CHANGED)


async def test_a_suspended_account_is_sent_nothing_and_finds_in_its_log_what_it_missed(
    house: House, receiver: Receiver
) -> None:
    hook = await house.register(receiver.url, "budget.threshold", "model.added")
    other = await house.register(receiver.url, "model.added", account=B)
    waiting = await house.send_test(hook)
    await suspend(house)
    await house.publish("2031.05.03", {"type": "model.added", "model": "acme:m"})
    house.advance(seconds=1)
    assert await house.deliver() == 3
    [told] = receiver.received
    assert told.verify(other["secret"])["type"] == "model.added"
    missed = await house.log(hook)
    assert [(each["status"], each["attempts"], each["next_attempt_at"]) for each in missed] == [
        ("failed", [], None)
    ] * 2
    house.advance(minutes=2)
    assert await house.deliver() == 0

    await suspend(house, False)
    assert (await house.look_at(hook))["status"] == "enabled"
    assert await house.deliver() == 0, "what fell due meanwhile is given up"
    await house.call("POST", f"/{hook['id']}/deliveries/{waiting}/redeliver")
    new = await house.send_test(hook)
    assert await house.deliver() == 2
    assert {each.id for each in receiver.received[1:]} == {waiting, new}
    assert all(each.verify(hook["secret"]) for each in receiver.received[1:])


async def test_what_is_tried_again_after_the_suspension_is_sent(house: House, receiver: Receiver) -> None:
    hook = await house.register(receiver.url, "model.added")
    receiver.answer = answer_with(500)
    await house.send_test(hook)
    await house.deliver()
    receiver.answer = take
    await suspend(house)
    await suspend(house, False)
    house.advance(seconds=5)
    assert await house.deliver() == 1
    [delivery] = await house.log(hook)
    assert (delivery["status"], len(delivery["attempts"])) == ("delivered", 2)


async def test_a_suspension_that_comes_during_an_attempt_lets_it_end(
    house: House, receiver: Receiver
) -> None:
    hook = await house.register(receiver.url, "model.added")

    async def answer(received: Received) -> Any:
        await suspend(house)
        return await answer_with(503)(received)

    receiver.answer = answer
    await house.send_test(hook)
    assert await house.deliver() == 1
    house.advance(seconds=5)
    assert await house.deliver() == 1, "it is claimed, and given up"
    [delivery] = await house.log(hook)
    assert (delivery["status"], len(delivery["attempts"]), len(receiver.received)) == ("failed", 1, 1)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=st.lists(st.tuples(st.integers(0, 4), st.sampled_from((True, False, None))), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
)
async def test_the_newest_word_counts_in_whatever_order_and_however_often_it_comes(
    house: House, told: list[tuple[int, bool | None]], order: Any
) -> None:
    """A relay may bring an older event after a newer one."""
    house.advance(days=1)
    states = dict(told)  # of one instant there is one event, which may come twice
    events = [*states.items(), *states.items()]
    order.shuffle(events)
    begin = house.clock.at
    for minute, state in events:
        at = begin + timedelta(minutes=minute)
        await house.take(changed(A, at, suspended=state), topic=KEYS_CHANGED)
    said = {minute: state for minute, state in states.items() if state is not None}
    async with house.database.connection() as connection:
        found = await connection.fetchval(
            "SELECT suspended FROM webhooks.accounts WHERE account_id = $1 AND changed_at >= $2", A, begin
        )
    assert found == (said[max(said)] if said else None)


async def test_what_somebody_without_right_set_up_is_gone_with_all_its_secrets_and_messages(
    house: House, receiver: Receiver
) -> None:
    stranger = await house.register(receiver.url, "budget.threshold", "model.added")
    other = await house.register(receiver.url, "model.added", account=B)
    await house.publish("2031.05.03", {"type": "model.added", "model": "acme:m"})
    await house.take(crossed(house), topic=BUDGETS_CROSSED)
    house.advance(seconds=10)
    reclaimed = house.clock.at
    house.advance(seconds=0.9)
    await house.register(receiver.url, "model.added")  # by a key that lives for a moment more
    house.advance(seconds=1)
    own = await house.register(receiver.url, "model.added")
    await house.take(changed(A, reclaimed, void_before=rfc3339(reclaimed)), topic=KEYS_CHANGED)
    assert [each["id"] for each in (await house.call("GET"))["webhooks"]] == [own["id"]]
    assert await house.deliver() == 1
    [told] = receiver.received
    assert told.verify(other["secret"])
    async with house.database.connection() as connection:
        for table in ("endpoints", "deliveries", "attempts"):
            left = await connection.fetchval(
                f"SELECT count(*) FROM webhooks.{table} WHERE endpoint_id = $1", UUID(stranger["id"])
            )
            assert left == 0
        assert await connection.fetchval("SELECT count(*) FROM webhooks.messages") == 1


async def test_what_keys_made_that_were_a_strangers_ends_with_them_and_nothing_else(
    house: House, receiver: Receiver
) -> None:
    verified = house.clock.at
    house.advance(days=1)
    own = await house.register(receiver.url, "model.added")
    house.key_id = UUID(int=8)
    await house.register(receiver.url, "model.added")
    await house.register(receiver.url, "model.added", account=B)
    house.advance(days=1)
    event = changed(A, house.clock.at, key_ids=[str(UUID(int=8))], void_before=rfc3339(verified))
    await house.take(event, event, topic=KEYS_CHANGED)
    assert [each["id"] for each in (await house.call("GET"))["webhooks"]] == [own["id"]]
    assert len((await house.call("GET", account=B))["webhooks"]) == 1


async def test_what_is_said_of_keys_alone_changes_nothing_and_odd_words_are_set_aside(
    house: House, receiver: Receiver
) -> None:
    hook = await house.register(receiver.url, "model.added")
    at = house.clock.at + timedelta(days=1)
    await house.take(changed(A, at), changed(A, at, key_ids=[str(UUID(int=7))]), topic=KEYS_CHANGED)
    await house.take(b"", b"{}", changed(A, at, v=2), changed(A, at, suspended="yes"), topic=KEYS_CHANGED)
    assert len(await read_all(house.event_log, USAGE_DEAD, wait_for=4)) == 4
    await house.send_test(hook)
    assert await house.deliver() == 1
    assert len(receiver.received) == 1
