"""Webhooks and budgets."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from llmring.api.calls import Known
from llmring.api.exchange import Flow, Request, exchange
from llmring.api.models import decode, encode, given
from llmring.api.models.accounts import Budgets, Reservation, Webhook, Webhooks

# Nothing here has an idempotency key, so what changes something is sent once.


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


def get_budgets(known: Known) -> Flow[list[dict[str, Any]]]:
    """The account's budgets."""
    body = yield from _send("GET", "/api/v1/budgets")
    return decode(body, Budgets).budgets


def set_budget(known: Known, budget: Mapping[str, Any]) -> Flow[dict[str, Any]]:
    """Make or change a budget; the fields are those of `PUT /api/v1/budgets`.

    Raises:
        APIValidationError: a field is wrong.
    """
    body = yield from _send("PUT", "/api/v1/budgets", encode(budget), repeatable=True)
    return decode(body, dict[str, Any])


def reserve_budget(
    known: Known,
    budget_id: str,
    amount: Decimal | float,
    *,
    expires_in_s: int | None = None,
) -> Flow[Reservation]:
    """Hold a part of a budget, before the call that may cost so much. Dollars.

    Raises:
        APIConflictError: so much is not left.
        APIUnavailableError: nobody knows what is left; do not spend.
    """
    body = encode(given({"amount": amount, "expires_in_s": expires_in_s}))
    answer = yield from _send("POST", f"/api/v1/budgets/{quote(budget_id, safe='')}/reserve", body)
    return decode(answer, Reservation)


def settle_budget(
    known: Known,
    budget_id: str,
    reservation_id: str,
    *,
    cost: Decimal | float | None = None,
) -> Flow[dict[str, Any]]:
    """Say what the call cost in the end; without a cost, nothing.

    Raises:
        APINotFoundError: the reservation is not there, or expired.
    """
    body = encode(given({"reservation_id": reservation_id, "cost": cost}))
    answer = yield from _send("POST", f"/api/v1/budgets/{quote(budget_id, safe='')}/settle", body)
    return decode(answer, dict[str, Any]) if answer else {}


def _send(
    method: str, path: str, body: bytes | None = None, *, repeatable: bool | None = None
) -> Flow[bytes]:
    again = method == "GET" if repeatable is None else repeatable
    response = yield from exchange(Request(method=method, path=path, body=body, repeatable=again))
    return response.body
