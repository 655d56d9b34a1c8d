"""Webhooks and budgets."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from llmring.api.calls import Known
from llmring.api.exchange import Flow, Request, exchange
from llmring.api.models import decode, encode, encode_fields, given
from llmring.api.models.accounts import Budget, Budgets, Reservation, Settlement, Webhook, Webhooks

# Registering and deleting have no idempotency key, so they are sent once.


def register_webhook(known: Known, *, url: str, events: Sequence[str]) -> Flow[Webhook]:
    """Have an address told of events, such as `price.changed`. The answer has the secret, which is shown
    once.

    Raises:
        APIValidationError: the address may not be called, or an event is not known.
    """
    body = encode({"url": url, "events": list(events)})
    return decode((yield from _send("POST", "/api/v1/webhooks", body)), Webhook)


def list_webhooks(known: Known) -> Flow[list[Webhook]]:
    """The account's endpoints, without their secrets."""
    body = yield from _send("GET", "/api/v1/webhooks")
    return decode(body, Webhooks).webhooks


def delete_webhook(known: Known, webhook_id: str) -> Flow[None]:
    """Tell an address of nothing more.

    Raises:
        APINotFoundError: there is no such endpoint.
    """
    yield from _send("DELETE", f"/api/v1/webhooks/{quote(webhook_id, safe='')}")


def get_budgets(known: Known) -> Flow[list[Budget]]:
    """The account's budgets, and how far they are used in this month."""
    body = yield from _send("GET", "/api/v1/budgets")
    return decode(body, Budgets).budgets


def set_budgets(known: Known, budgets: Iterable[Mapping[str, Any]]) -> Flow[list[Budget]]:
    """Set the account's budgets, all at once: those that are not named are no more.

    Args:
        known: of the service.
        budgets: each with `name`, `scope` (`account`, `key` or `origin`) with its `value`, `amount` in
            dollars for each month, and `thresholds`, shares of the amount of which to be told.

    Raises:
        APIValidationError: a field is wrong.
    """
    body = encode_fields({"budgets": [dict(each) for each in budgets]})
    return decode((yield from _send("PUT", "/api/v1/budgets", body, repeatable=True)), Budgets).budgets


def reserve_budget(
    known: Known,
    budget_id: str,
    amount: Decimal | float,
    *,
    expires_in_s: int | None = None,
    reservation_id: str | None = None,
) -> Flow[Reservation]:
    """Hold a part of a budget, in dollars, before the call that may cost so much.

    Args:
        known: of the service.
        budget_id: of the budget.
        amount: what the call may cost at most.
        expires_in_s: after so long it falls back by itself.
        reservation_id: a UUID of the caller's own: whoever asks again with it is given the same reservation.

    Raises:
        APIValidationError: the amount is none.
        APIConflictError: so much is not left (`kind` is `budget-exceeded`).
        APIUnavailableError: nobody knows what is left; do not spend.
    """
    own_id = reservation_id or str(uuid4())
    body = encode_fields(given({"amount": amount, "expires_in_s": expires_in_s, "reservation_id": own_id}))
    path = f"/api/v1/budgets/{quote(budget_id, safe='')}/reserve"
    return decode((yield from _send("POST", path, body, repeatable=True)), Reservation)


def settle_budget(
    known: Known, budget_id: str, reservation_id: str, *, cost: Decimal | float | None = None
) -> Flow[Settlement]:
    """Say what the call has cost in the end; without a cost the reservation is given back.

    Raises:
        APIValidationError: the cost is no amount.
        APINotFoundError: there is no such reservation.
        APIConflictError: it was settled with another cost.
    """
    body = encode_fields(given({"reservation_id": reservation_id, "cost": cost}))
    path = f"/api/v1/budgets/{quote(budget_id, safe='')}/settle"
    return decode((yield from _send("POST", path, body, repeatable=True)), Settlement)


def _send(
    method: str, path: str, body: bytes | None = None, *, repeatable: bool | None = None
) -> Flow[bytes]:
    again = method == "GET" if repeatable is None else repeatable
    response = yield from exchange(Request(method=method, path=path, body=body, repeatable=again))
    return response.body
