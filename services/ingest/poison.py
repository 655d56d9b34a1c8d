"""Reading `usage.logged`: what only a foreign producer could have got wrong is found before it is stored."""

from datetime import UTC
from operator import attrgetter
from typing import Final

import msgspec

from shared.contracts.usage import BODY_DIGEST_BYTES, EARLIEST_AT, LATEST_AT, MAX_LATENCY_MS, UsageLogged
from shared.event_log.dead_letter import PASSES_ON_BYTES, size_of
from shared.event_log.port import StoredRecord
from shared.money import parse_number, plain
from shared.pricing.versions import parse_version

_LARGEST: Final = MAX_LATENCY_MS  # the largest number that the API lets in; millions of it fit into a bigint

_NUL: Final = b"\\u0000"

_decoder = msgspec.json.Decoder(UsageLogged)
_counts_of = attrgetter(
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)


class PoisonError(Exception):
    """A record that can never be processed; the text says why."""


def read_event(stored: StoredRecord) -> tuple[bytes, UsageLogged]:
    """The bytes of a record, and what they say.

    Raises:
        PoisonError: they cannot be decoded, or hold what cannot be stored.
    """
    if not stored.value:
        raise PoisonError("it has no value")
    if size_of(stored) > PASSES_ON_BYTES:
        raise PoisonError(f"it has {size_of(stored)} bytes; {PASSES_ON_BYTES} can be passed on")
    try:
        event = _decoder.decode(stored.value)
        bytes(event.metadata).decode()  # it was passed over unread
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PoisonError(f"it cannot be decoded: {error}") from None
    if event.v != 1:
        raise PoisonError(f"its version is {event.v}")
    if _NUL in stored.value:  # the only way to write one: as itself it is no JSON
        _refuse_nul(event)
    if not 0 <= min(counts := _counts_of(event)) <= max(counts) <= _LARGEST:
        raise PoisonError("a count of tokens is out of range")
    if event.latency_ms is not None and not 0 <= event.latency_ms <= _LARGEST:
        raise PoisonError("latency_ms is out of range")
    if event.body_digest is not None and len(event.body_digest) != BODY_DIGEST_BYTES:
        raise PoisonError(f"body_digest has not {BODY_DIGEST_BYTES} bytes")
    if event.registry_version is not None:
        _check_version(event.registry_version)
    _normalize(event)
    return stored.value, event


def _refuse_nul(event: UsageLogged) -> None:
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str) and "\0" in value:
            raise PoisonError(f"{name} contains NUL")


def _check_version(name: str) -> None:
    """It is going to be part of a path: what is no name at all would be an error of another kind there."""
    try:
        parse_version(name)
    except ValueError as error:
        raise PoisonError(f"registry_version {error}") from None


def _normalize(event: UsageLogged) -> None:
    try:
        if event.client_cost is not None:
            event.client_cost = plain(parse_number(event.client_cost))
        # Rollups take their buckets from the clock face, so it must be that of UTC.
        event.occurred_at = event.occurred_at.astimezone(UTC)
        event.received_at = event.received_at.astimezone(UTC)
        if event.repriced_at is not None:
            event.repriced_at = event.repriced_at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PoisonError(f"client_cost or an instant {error}") from None
    for at in (event.occurred_at, event.received_at, event.repriced_at):
        if at is not None and not EARLIEST_AT <= at <= LATEST_AT:
            raise PoisonError(f"{at} cannot be stored")
    if event.client_cost is not None and event.client_cost.startswith("-"):
        raise PoisonError("client_cost is negative")
