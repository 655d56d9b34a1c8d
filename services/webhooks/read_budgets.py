"""Turn `budgets.crossed` into messages: one of each crossing, to its account."""

from typing import Final

import msgspec

from services.webhooks.events import BUDGET_THRESHOLD, name_message, write_message
from services.webhooks.store.messages import Message
from shared.clock import rfc3339
from shared.contracts.budgets import BudgetCrossed
from shared.event_log.port import StoredRecord
from shared.event_log.take import read_events
from shared.money import parse_number, plain

_read: Final = read_events(BudgetCrossed)


async def read_crossing(record: StoredRecord) -> list[Message]:
    """The message of a crossing. Amounts are numbers in it, with all their digits.

    Raises:
        ValueError: it is no such event.
    """
    event = await _read(record)
    message = write_message(
        name_message("budget", event.event_id),
        BUDGET_THRESHOLD,
        event.crossed_at,
        {
            "budget_id": event.budget_id,
            "name": event.name,
            "scope": event.scope,
            "value": event.value,
            "month": event.month,
            "amount": _number(event.amount),
            "spent": _number(event.spent),
            "threshold": _number(event.threshold),
            "crossed_at": rfc3339(event.crossed_at),
        },
    )
    return [message._replace(account_id=event.account_id)]


def _number(text: str) -> msgspec.Raw:
    return msgspec.Raw(plain(parse_number(text)).encode())
