"""What fields of requests must be, beyond their types; each reader raises what is wrong as a sentence."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from services.auth.api_keys import holds_api_key
from shared.clock import parse_rfc3339
from shared.errors import Fault

Sent = TypeVar("Sent")
Meant = TypeVar("Meant")


def attempt(field: str, read: Callable[[Sent], Meant], value: Sent, faults: list[Fault]) -> Meant | None:
    """What a field means; None where it is wrong, which is added to the faults."""
    try:
        return read(value)
    except ValueError as error:
        faults.append(Fault(field, str(error)))
        return None


def parse_text(text: str | None) -> str | None:
    """A text that somebody wrote about themselves; blanks alone are none.

    Raises:
        ValueError: it holds a NUL.
    """
    if text is not None and "\0" in text:
        raise ValueError("must not contain a NUL character.")
    return (text or "").strip() or None


def parse_key_name(name: str | None) -> str | None:
    """The name of a key; blanks alone are none.

    Raises:
        ValueError: it holds a NUL, or the text of a key: names are shown.
    """
    if name is not None and holds_api_key(name):
        raise ValueError("must not contain an API key: names are shown.")
    return parse_text(name)


def parse_end(text: str | None, now: datetime) -> datetime | None:
    """When a key is to end; None is never.

    Raises:
        ValueError: it is no RFC 3339 time, or not in the future.
    """
    if text is None:
        return None
    try:
        ends = parse_rfc3339(text)
    except ValueError as error:
        raise ValueError(f"{error}.") from None
    if ends <= now:
        raise ValueError("must be in the future.")
    return ends


def require_accepted(accepted: bool) -> bool:
    """That terms are accepted.

    Raises:
        ValueError: they are not.
    """
    if not accepted:
        raise ValueError("must be true: the terms have to be accepted.")
    return accepted
