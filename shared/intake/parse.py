"""Bytes that a caller sent into a checked `UsageLog`, or an error that names every field at fault."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

from shared.clock import parse_rfc3339
from shared.contracts.usage import (
    EARLIEST_AT,
    MAX_BATCH_RECORDS,
    MAX_COST_USD,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    NULL,
    Name,
    UsageLog,
)
from shared.errors import Fault, InvalidFieldError, MalformedRequestError, TooLargeError
from shared.money import parse_number
from shared.pricing.names import split_name

_decoder = msgspec.json.Decoder(UsageLog)
_fields = msgspec.structs.fields(UsageLog)


class _Batch(msgspec.Struct):
    logs: list[msgspec.Raw]


_batch_decoder = msgspec.json.Decoder(_Batch)


def parse_log(body: bytes | msgspec.Raw, *, provider_required: bool = True) -> UsageLog:
    """Read one record.

    Args:
        body: the JSON as it was sent.
        provider_required: whether a record that names no provider, in `model` either, is at fault.

    Raises:
        MalformedRequestError: the bytes are not JSON in UTF-8, or nested beyond reading.
        InvalidFieldError: it is JSON, but fields are wrong; each is named.
    """
    try:
        bytes(body).decode()  # the decoder does not look into the fields that it passes over
        log = _decoder.decode(body)
    except msgspec.ValidationError as error:
        _explain(body, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None
    if b"\\u0000" in bytes(body):
        _refuse_nul(log)
    if log.provider is None:
        _split_names(log, required=provider_required)
    return log


def parse_batch(body: bytes) -> list[msgspec.Raw]:
    """Split a batch into its records, each still to be read on its own.

    Raises:
        MalformedRequestError: the bytes are not JSON in UTF-8.
        InvalidFieldError: `logs` is missing, not an array, empty or too long.
    """
    try:
        body.decode()  # the decoder does not look into the fields that it passes over
        logs = _batch_decoder.decode(body).logs
    except msgspec.ValidationError as error:
        raise InvalidFieldError.of("logs", _reason(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None
    if not 0 < len(logs) <= MAX_BATCH_RECORDS:
        raise InvalidFieldError.of("logs", f"must have 1 to {MAX_BATCH_RECORDS} records")
    return logs


def parse_cost(log: UsageLog) -> Decimal | None:
    """The caller's own cost, exact; None when it gave none. A cost of 0 is a cost.

    Raises:
        InvalidFieldError: not a number from 0 to `MAX_COST_USD`.
    """
    if not log.cost or log.cost == NULL:
        return None
    try:
        cost = parse_number(bytes(log.cost).decode())
    except ValueError as error:
        raise InvalidFieldError.of("cost", str(error)) from None
    if not 0 <= cost <= MAX_COST_USD:
        raise InvalidFieldError.of("cost", f"must be from 0 to {MAX_COST_USD}")
    return cost


def check_metadata(log: UsageLog) -> None:
    """Let only a JSON object pass that is small and shallow enough to be kept whole.

    Raises:
        TooLargeError: it is longer than `MAX_METADATA_BYTES` as sent.
        InvalidFieldError: not an object, deeper than `MAX_METADATA_DEPTH`, a NUL in a string, or a number
            beyond what JSON readers can hold.
    """
    raw = log.metadata
    if not raw or raw == NULL:
        return
    if len(raw) > MAX_METADATA_BYTES:
        raise TooLargeError(f"metadata: must be at most {MAX_METADATA_BYTES} bytes of JSON.")
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidFieldError.of("metadata", "must be readable JSON, with numbers in range") from None
    if not isinstance(value, dict):
        raise InvalidFieldError.of("metadata", "must be an object")
    if _depth(value) > MAX_METADATA_DEPTH:
        raise InvalidFieldError.of("metadata", f"must not be nested deeper than {MAX_METADATA_DEPTH}")
    if b"\\u0000" in bytes(raw) and _has_nul(value):
        raise InvalidFieldError.of("metadata", "must not contain NUL")


def parse_timestamp(log: UsageLog, *, now: datetime, max_skew: timedelta) -> datetime:
    """The event's own time in UTC: any time back, and up to `max_skew` ahead of our clock; now when absent.

    Raises:
        InvalidFieldError: not RFC 3339 with a zone, no possible time, or too far ahead.
    """
    if log.timestamp is None:
        return now
    try:
        occurred_at = parse_rfc3339(log.timestamp)
    except ValueError as error:
        raise InvalidFieldError.of("timestamp", str(error)) from None
    if occurred_at > now + max_skew:
        seconds = int(max_skew.total_seconds())
        raise InvalidFieldError.of("timestamp", f"is more than {seconds} seconds in the future")
    if occurred_at < EARLIEST_AT:
        raise InvalidFieldError.of("timestamp", "is on the first day of the calendar or before")
    return occurred_at


def parse_idempotency_key(header: bytes | None, log: UsageLog) -> str | None:
    """The record's idempotency key: the header `Idempotency-Key`, or the field of the body.

    Raises:
        InvalidFieldError: the two differ, or the header is not 1 to 255 printable characters.
    """
    if header is None:
        return log.idempotency_key
    key = parse_key_header(header)
    if log.idempotency_key not in (None, key):
        raise InvalidFieldError.of("idempotency_key", "differs from the header Idempotency-Key")
    return key


def parse_key_header(header: bytes) -> str:
    """The value of a header `Idempotency-Key`.

    Raises:
        InvalidFieldError: it is not 1 to 255 printable characters.
    """
    try:
        key = msgspec.convert(header.decode("utf-8").strip(), Name)
    except (UnicodeDecodeError, msgspec.ValidationError):
        raise InvalidFieldError.of("Idempotency-Key", "must have 1 to 255 characters of UTF-8") from None
    if not key.isprintable():
        raise InvalidFieldError.of("Idempotency-Key", "must not contain control characters")
    return key


def _split_names(log: UsageLog, *, required: bool) -> None:
    names = split_name(log.model)
    if names is not None:
        log.provider, log.model = names
    elif required:
        raise InvalidFieldError.of("provider", "is required, here or as 'provider:model' in model")


def _explain(body: bytes | msgspec.Raw, error: msgspec.ValidationError) -> NoReturn:
    """Read again field by field, since msgspec stops at the first fault."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.ValidationError, RecursionError):
        # Such as a number out of range somewhere: all that is known is what msgspec said.
        raise InvalidFieldError.of(_path(str(error)), _reason(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as malformed:
        raise _malformed(malformed) from None
    if not isinstance(value, dict):
        raise InvalidFieldError.of("body", "must be a JSON object") from None
    faults = [fault for field in _fields if (fault := _fault(field, value)) is not None]
    raise InvalidFieldError.all(faults or [Fault(_path(str(error)), _reason(str(error)))]) from None


def _fault(field: Any, value: dict[str, Any]) -> Fault | None:  # noqa: ANN401 - msgspec names no type for it
    if field.encode_name not in value:
        return Fault(field.encode_name, "is required") if field.required else None
    if field.type is msgspec.Raw:
        return None
    try:
        msgspec.convert(value[field.encode_name], field.type)
    except msgspec.ValidationError as error:
        return Fault(field.encode_name, _reason(str(error)))
    return None


def _refuse_nul(log: UsageLog) -> None:
    faults = [
        Fault(field.encode_name, "must not contain NUL")
        for field in _fields
        if isinstance(text := getattr(log, field.name), str) and "\0" in text
    ]
    if faults:
        raise InvalidFieldError.all(faults)


def _depth(value: object) -> int:
    depth, layer = 0, [value]
    while layer:
        depth += 1
        inner: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        layer = [item for item in inner if isinstance(item, dict | list)]
    return depth


def _has_nul(value: object) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str) and "\0" in item:
            return True
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False


def _malformed(error: Exception) -> MalformedRequestError:
    if isinstance(error, RecursionError):
        return MalformedRequestError("The body is nested too deeply.")
    if isinstance(error, UnicodeDecodeError):
        return MalformedRequestError("The body is not valid UTF-8.")
    return MalformedRequestError(f"The body is not valid JSON ({error}).")


def _path(message: str) -> str:
    _, _, path = message.partition(" - at `$")
    return path.rstrip("`").lstrip(".") or "body"


def _reason(message: str) -> str:
    return message.partition(" - at `")[0]
