"""Bodies about budgets as their callers sent them, with every wrong field named."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid5

import msgspec

from services.ingest.budget import Wish
from services.ingest.set_budgets import Wanted
from shared.contracts.budgets import (
    MAX_BUDGET_USD,
    MAX_BUDGETS,
    MAX_THRESHOLD,
    BudgetEntry,
    ReserveRequest,
    SettleRequest,
)
from shared.contracts.usage import ABSENT, MAX_COST_USD, NULL
from shared.errors import Fault, InvalidFieldError
from shared.ids import uuid7
from shared.intake.parse import parse_key_header
from shared.money import ZERO, parse_number
from shared.web.bodies import read_body

_DEFAULT_THRESHOLDS: Final[tuple[Decimal, ...]] = (Decimal("0.5"), Decimal("0.8"), Decimal(1))
_KEYED_RESERVATIONS: Final = UUID("4c1b9d0e-34cb-5b52-9a3e-1f0f0b7a6d35")


class _Budgets(msgspec.Struct):
    budgets: list[msgspec.Raw]


def parse_budgets(body: bytes) -> list[Wanted]:
    """The budgets of a `BudgetList`.

    Raises:
        MalformedRequestError: the body is not JSON.
        InvalidFieldError: fields are wrong, of whichever budget; each is named, as `budgets[3].amount`.
    """
    entries = read_body(body, _Budgets).budgets
    if len(entries) > MAX_BUDGETS:
        raise InvalidFieldError.of("budgets", f"must be at most {MAX_BUDGETS}")
    faults: list[Fault] = []
    wanted: list[Wanted] = []
    for place, entry in enumerate(entries):
        try:
            wanted.append(_parse_entry(bytes(entry)))
        except InvalidFieldError as error:
            faults += [
                Fault(
                    f"budgets[{place}]" + ("" if fault.field == "body" else f".{fault.field}"), fault.message
                )
                for fault in error.faults
            ]
    if not faults:
        faults = _find_repeats(wanted)
    if faults:
        raise InvalidFieldError.all(faults)
    return wanted


def _parse_entry(body: bytes) -> Wanted:
    entry = read_body(body, BudgetEntry)
    faults: list[Fault] = []
    amount = _parse_amount(entry.amount, "amount", faults)
    value = _parse_value(entry, faults)
    thresholds = _DEFAULT_THRESHOLDS
    if entry.thresholds is not None:
        thresholds = _parse_thresholds(entry.thresholds, faults)
    if "\0" in entry.name:
        faults.append(Fault("name", "must not contain NUL"))
    if faults:
        raise InvalidFieldError.all(faults)
    return Wanted(entry.id, entry.name, entry.scope, value, amount, thresholds)


def _parse_amount(raw: msgspec.Raw, field: str, faults: list[Fault]) -> Decimal:
    try:
        amount = parse_number(bytes(raw).decode())
    except ValueError as error:
        faults.append(Fault(field, str(error)))
        return ZERO
    if not 0 < amount <= MAX_BUDGET_USD:
        faults.append(Fault(field, f"must be more than 0 and at most {MAX_BUDGET_USD}"))
    return amount


def _parse_value(entry: BudgetEntry, faults: list[Fault]) -> str:
    """The value as records have it: a key's id is written in lower case with hyphens."""
    value = entry.value or ""
    if entry.scope == "account":
        if value:
            faults.append(Fault("value", "must be absent: the budget is that of the whole account"))
    elif not value:
        faults.append(Fault("value", f"is required: the {entry.scope}"))
    elif "\0" in value:
        faults.append(Fault("value", "must not contain NUL"))
    elif entry.scope == "key":
        try:
            return str(msgspec.convert(value, UUID))
        except msgspec.ValidationError:
            faults.append(Fault("value", "must be the UUID of a key"))
    return value


def _parse_thresholds(raws: Sequence[msgspec.Raw], faults: list[Fault]) -> tuple[Decimal, ...]:
    thresholds: set[Decimal] = set()
    for place, raw in enumerate(raws):
        try:
            threshold = parse_number(bytes(raw).decode())
        except ValueError as error:
            faults.append(Fault(f"thresholds[{place}]", str(error)))
            continue
        if not 0 < threshold <= MAX_THRESHOLD:
            faults.append(Fault(f"thresholds[{place}]", f"must be more than 0 and at most {MAX_THRESHOLD}"))
        thresholds.add(threshold)
    return tuple(sorted(thresholds))


def _find_repeats(wanted: Sequence[Wanted]) -> list[Fault]:
    seen: set[tuple[str, str]] = set()
    faults: list[Fault] = []
    for place, each in enumerate(wanted):
        if (each.scope, each.value) in seen:
            faults.append(Fault(f"budgets[{place}]", "counts the same as one before it"))
        seen.add((each.scope, each.value))
    return faults


def parse_reserve(body: bytes, account_id: UUID, key: bytes | None) -> Wish:
    """What a `ReserveRequest` asks for.

    Args:
        body: as it was sent.
        account_id: whose wish it is.
        key: the header `Idempotency-Key`, which names the reservation where the body does not.

    Raises:
        MalformedRequestError, InvalidFieldError: see `read_body`.
    """
    asked = read_body(body, ReserveRequest)
    faults: list[Fault] = []
    amount = _parse_amount(asked.amount, "amount", faults)
    if faults:
        raise InvalidFieldError.all(faults)
    name = asked.reservation_id
    if name is None:
        name = uuid7() if key is None else uuid5(_KEYED_RESERVATIONS, f"{account_id}:{parse_key_header(key)}")
    return Wish(name, amount, timedelta(seconds=asked.expires_in_s))


def parse_settle(body: bytes) -> tuple[UUID, Decimal]:
    """The reservation of a `SettleRequest`, and its cost.

    Raises:
        MalformedRequestError, InvalidFieldError: see `read_body`.
    """
    asked = read_body(body, SettleRequest)
    if asked.cost in (ABSENT, NULL):
        return asked.reservation_id, ZERO
    try:
        cost = parse_number(bytes(asked.cost).decode())
    except ValueError as error:
        raise InvalidFieldError.of("cost", str(error)) from None
    if not 0 <= cost <= MAX_COST_USD:
        raise InvalidFieldError.of("cost", f"must be from 0 to {MAX_COST_USD}")
    return asked.reservation_id, cost
