"""Read a request's body strictly, with every wrong field named.

A framework's own decoding would take `"7"` for 7 and 1 for true, stop at the first fault, and not name a
field that is missing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from shared.errors import Fault, InvalidFieldError, MalformedRequestError

S = TypeVar("S", bound=msgspec.Struct)

Meaning = Mapping[str, Callable[[Any], object]]
"""By field, what raises ValueError, with a plain sentence, for a value of the right type that is wrong."""

_PLACE = re.compile(r" - at `\$.*`$")


def read_body(body: bytes, kind: type[S], meaning: Meaning | None = None) -> S:
    """Decode JSON; unknown fields are ignored.

    Args:
        body: as it was sent.
        kind: what it must be.
        meaning: what the caller will hold its fields against. It is asked only where some field is not even
            of its type, so that those that are wrong in another way are named at once with it.

    Raises:
        MalformedRequestError: the bytes are not JSON in UTF-8, or nested beyond reading.
        InvalidFieldError: there is no body, or it is JSON and not of this kind.
    """
    if not body:
        raise InvalidFieldError.of("body", "a JSON body is required.")
    try:
        body.decode()  # the decoder does not look into the fields that it passes over
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            raise InvalidFieldError.all(_find_faults(body, kind, meaning or {}, error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedRequestError("The body is not JSON in UTF-8.") from None


def _find_faults(
    body: bytes, kind: type[msgspec.Struct], meaning: Meaning, error: msgspec.ValidationError
) -> list[Fault]:
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return [Fault("body", "must be a JSON object.")]
    faults = [_find_fault(fields, field, meaning) for field in msgspec.structs.fields(kind)]
    # Of a field that is there twice only the last one is looked at here.
    return [fault for fault in faults if fault] or [Fault("body", _sentence(str(error)))]


def _find_fault(
    fields: dict[str, msgspec.Raw], field: msgspec.structs.FieldInfo, meaning: Meaning
) -> Fault | None:
    raw = fields.get(field.encode_name)
    if raw is None:
        return Fault(field.encode_name, "is required.") if field.required else None
    try:
        value = msgspec.json.decode(raw, type=field.type)
    except msgspec.ValidationError as error:
        return Fault(field.encode_name, _sentence(str(error)))
    try:
        meaning.get(field.encode_name, _means_nothing_more)(value)
    except ValueError as error:
        return Fault(field.encode_name, str(error))
    return None


def _means_nothing_more(_value: object) -> None:
    """Of a field that nothing more is asked of."""


def _sentence(text: str) -> str:
    text = _PLACE.sub("", text).replace("`", "")
    return f"{text[:1].lower()}{text[1:]}."
