"""A budget that reaches a threshold is told to its own account, once."""

import json
from typing import Any
from uuid import UUID

from shared.contracts.topics import BUDGETS_CROSSED, USAGE_DEAD
from tests.receipts.event_log import read_all
from tests.webhooks.house import A, B, House
from tests.webhooks.receiver import Receiver

BUDGET, EVENT = str(UUID(int=3)), str(UUID(int=4))


def crossed(house: House, **changes: Any) -> bytes:
    event = {
        "v": 1,
        "event_id": EVENT,
        "account_id": str(A),
        "budget_id": BUDGET,
        "name": "checkout",
        "scope": "origin",
        "value": "web",
        "month": "2031-05",
        "amount": "500",
        "spent": "400.0000000000000000000000001250",
        "threshold": "0.80",
        "crossed_at": house.clock.at.isoformat(),
    }
    return json.dumps(event | changes).encode()


async def test_a_threshold_is_told_once_to_its_account_with_all_digits(
    house: House, receiver: Receiver
) -> None:
    mine = await house.register(receiver.url, "budget.threshold")
    await house.register(receiver.url, "model.added")
    await house.register(receiver.url, "budget.threshold", account=B)
    early = crossed(house, event_id=str(UUID(int=5)), crossed_at="2020-01-01T00:00:00Z")
    house.advance(seconds=1)
    again = crossed(house, spent="400.1")
    await house.take(crossed(house), again, early, topic=BUDGETS_CROSSED)
    await house.take(again, topic=BUDGETS_CROSSED)
    assert await house.deliver() == 1
    [received] = receiver.received
    stamp = house.clock.at.isoformat().replace("+00:00", "Z")
    assert received.verify(mine["secret"]) == {
        "type": "budget.threshold",
        "timestamp": stamp,
        "data": {
            "budget_id": BUDGET,
            "name": "checkout",
            "scope": "origin",
            "value": "web",
            "month": "2031-05",
            "amount": 500,
            "spent": 400,
            "threshold": 0.8,
            "crossed_at": stamp,
        },
    }
    assert b'"spent":400.000000000000000000000000125,' in received.body


async def test_what_cannot_be_read_is_set_aside(house: House, receiver: Receiver) -> None:
    await house.register(receiver.url, "budget.threshold")
    house.advance(seconds=1)
    await house.take(
        b"",
        crossed(house, v=2),
        crossed(house, spent="NaN"),
        crossed(house, amount="1e999999999"),
        crossed(house, crossed_at="2031-05-03T12:00:00"),
        crossed(house),
        topic=BUDGETS_CROSSED,
    )
    assert await house.deliver() == 1
    dead = await read_all(house.event_log, USAGE_DEAD, wait_for=5)
    assert {dict(each.headers)["dead-letter-topic"] for each in dead} == {b"budgets.crossed"}
