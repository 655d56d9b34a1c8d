"""What other systems call the parts of a record, in the words of `POST /api/v1/log`.

Numbers pass as they are written, so no digit of a cost is lost.
"""

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from shared.cells import read_cell
from shared.clock import rfc3339
from shared.contracts.records import FREE_TEXT
from shared.contracts.usage import NULL, UsageLog

Record = dict[str, msgspec.Raw]

_KNOWN: Final = frozenset(UsageLog.__struct_fields__)
_NUMBERS: Final = frozenset(name for name in _KNOWN if name.endswith("_tokens")) | {"latency_ms", "cost"}
_FOREIGN: Final = frozenset(("id", "logged_at", "created_at", "conversation_id"))
_ID_PREFIX: Final = "id:"
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()


class NotARecordError(Exception):
    """It cannot be read; the text says why."""


def adapt(body: bytes, *, keep_cost: bool = True) -> bytes:
    """Turn a record of any of the forms that are known into one to send; one that is right stays as it is.

    A record of `GET /api/v1/logs`, of this system or of llmring-server, has `id` and `logged_at`: they become
    its idempotency key and its time. A `conversation_id` goes into the metadata.

    Args:
        body: JSON.
        keep_cost: let a cost stand that the record has; else it is calculated from the prices of its time.

    Raises:
        NotARecordError: it is no JSON object.
    """
    try:
        record = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotARecordError(f"is not a JSON object: {error}") from None
    if keep_cost and not _FOREIGN & record.keys():
        return _on_one_line(body)
    return adapt_fields(record, keep_cost=keep_cost)


def adapt_fields(record: Record, *, keep_cost: bool) -> bytes:
    """The same for a record whose fields are known already.

    Raises:
        NotARecordError: something in it cannot be read.
    """
    try:
        return _adapt(record, keep_cost=keep_cost)
    except (ValueError, OverflowError, RecursionError) as error:  # of which many are kinds
        raise NotARecordError(f"cannot be read: {error}") from None


def _adapt(record: Record, *, keep_cost: bool) -> bytes:
    adapted = {name: value for name, value in record.items() if name in _KNOWN and value != NULL}
    if not keep_cost:
        given = record.get("client_cost", NULL)  # of our own exports: what the caller said
        adapted.pop("cost", None)
        if given != NULL:
            adapted["cost"] = given
    logged_at = record.get("logged_at") or record.get("created_at")
    if logged_at is not None and "timestamp" not in adapted:
        adapted["timestamp"] = _with_zone(logged_at)
    identity = record.get("id")
    if identity is not None and identity != NULL and "idempotency_key" not in adapted:
        adapted["idempotency_key"] = _text(f"{_ID_PREFIX}{_plain(identity)}")
    conversation = record.get("conversation_id")
    if conversation is not None and conversation != NULL:
        adapted["metadata"] = _with_conversation(adapted.get("metadata"), conversation)
    return _on_one_line(_encoder.encode(adapted))


def adapt_row(row: dict[str, str], *, keep_cost: bool) -> bytes:
    """A record from the texts of a table, as of a CSV file; an empty one is absent.

    What is no number where one belongs goes on as text, so that it is refused by name. The apostrophe that
    an export put before a formula is taken away.

    Raises:
        NotARecordError: its metadata is no JSON.
    """
    record: Record = {}
    for name, text in row.items():
        if text == "" or name is None:
            continue
        if name == "metadata":
            record[name] = _json(text)
        elif name in _NUMBERS and _NUMBER.fullmatch(text):
            record[name] = msgspec.Raw(text.encode())
        else:
            record[name] = _text(read_cell(text) if name in FREE_TEXT else text)
    return adapt_fields(record, keep_cost=keep_cost)


def _on_one_line(body: bytes) -> bytes:
    return msgspec.json.format(body, indent=-1) if b"\n" in body else body


def _json(text: str) -> msgspec.Raw:
    """A whole JSON text, which cannot bring other fields along."""
    try:
        msgspec.json.decode(text.encode())
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotARecordError(f"metadata: is not JSON: {error}") from None
    return msgspec.Raw(text.encode())


def _with_zone(value: msgspec.Raw) -> msgspec.Raw:
    """A time without a zone is UTC: that is what databases of such servers hold."""
    try:
        at = datetime.fromisoformat(_plain(value))
    except ValueError:
        return value  # the server says what is wrong with it
    return _text(rfc3339(at.replace(tzinfo=UTC) if at.tzinfo is None else at))


def _with_conversation(metadata: msgspec.Raw | None, conversation: msgspec.Raw) -> msgspec.Raw:
    try:
        fields = {} if metadata is None else _decoder.decode(metadata)
    except msgspec.MsgspecError:
        return msgspec.Raw(b"") if metadata is None else metadata
    return msgspec.Raw(_encoder.encode({"conversation_id": conversation} | fields))


def _plain(value: msgspec.Raw) -> str:
    decoded = msgspec.json.decode(value)
    return decoded if isinstance(decoded, str) else bytes(value).decode()


def _text(text: str) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(text))
