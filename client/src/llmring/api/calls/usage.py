"""Reporting usage and reading it back."""

import secrets
from typing import Any, Literal, Unpack

from llmring.api.calls import Day, Known, usage_filter
from llmring.api.exceptions import APIValidationError, FieldError
from llmring.api.exchange import Flow, Request, exchange
from llmring.api.models import decode, encode_fields, given
from llmring.api.models.usage import USAGE_FIELDS, LogAnswer, UsageFields, UsageStats


def log_usage(known: Known, **fields: Unpack[UsageFields]) -> Flow[LogAnswer]:
    """Report one call to an LLM and wait for the answer, which has its cost.

    It gets an idempotency key if it has none, so repeats after a broken connection count once.

    Raises:
        APIValidationError: a field is wrong.
        APIAuthenticationError: the key is.
        APIRateLimitError: too many requests, or, as APIQuotaExceededError, too many records this month.
        APINetworkError: no answer came, also not to a repeat. Give the same `idempotency_key` to try later.
    """
    body = usage_body({"idempotency_key": secrets.token_hex(16)} | given(fields))
    response = yield from exchange(Request(method="POST", path="/api/v1/log", body=body))
    return decode(response.body, LogAnswer)


def usage_body(fields: dict[str, Any]) -> bytes:
    """One record as it is sent.

    Raises:
        APIValidationError: a field is none of a record, or has no JSON form, as NaN has none.
    """
    if not fields.keys() <= USAGE_FIELDS:
        errors = [
            FieldError(name, "is no field of a record") for name in sorted(fields.keys() - USAGE_FIELDS)
        ]
        raise APIValidationError("; ".join(f"{each.field}: {each.message}" for each in errors), errors=errors)
    try:
        return encode_fields(fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise APIValidationError(f"the record has no JSON form: {error}") from None


def get_usage_stats(
    known: Known,
    *,
    start_date: Day | None = None,
    end_date: Day | None = None,
    origin: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    alias: str | None = None,
    group_by: Literal["day", "week", "month"] | None = None,
    timezone: str | None = None,
) -> Flow[UsageStats]:
    """What the account used, by default in the last 30 days.

    Args:
        known: of the service.
        start_date: a day or an instant, included.
        end_date: a day, which counts whole, or an instant, which is not included.
        origin: only this one's; so with `model`, `provider` and `alias`.
        model: by key or name.
        provider: by name.
        alias: by name.
        group_by: the length of a period; a week begins on Monday.
        timezone: the IANA zone in which days begin, by default UTC.

    Raises:
        APIValidationError: a parameter is wrong, or the range has too many periods.
    """
    filters = {"origin": origin, "model": model, "provider": provider, "alias": alias}
    params = usage_filter(start_date, end_date, filters) | {"group_by": group_by, "timezone": timezone}
    response = yield from exchange(Request(method="GET", path="/api/v1/stats", params=params))
    return decode(response.body, UsageStats)


def export_usage_logs(
    known: Known,
    *,
    start_date: Day | None = None,
    end_date: Day | None = None,
    origin: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    alias: str | None = None,
    format: Literal["json", "ndjson", "csv"] = "json",  # noqa: A002 - the name of the specification
) -> Flow[str]:
    """The account's records as one text: a JSON array, one JSON object a line, or CSV. Newest first.

    Raises:
        APIValidationError: a parameter is wrong.
    """
    filters = {"origin": origin, "model": model, "provider": provider, "alias": alias}
    params = usage_filter(start_date, end_date, filters)
    params["format"] = "ndjson" if format == "json" else format
    response = yield from exchange(Request(method="GET", path="/api/v1/logs", params=params))
    text = response.body.decode(errors="replace")
    # A line of NDJSON holds no other line break: JSON writes one in a text as an escape.
    return f"[{','.join(filter(None, text.split(chr(10))))}]" if format == "json" else text
