"""The fields of a model as they are published: what each may hold, and the sentence that says so.

A reader takes the decoded JSON value and gives the field's value, or raises UnfitError with a sentence.
Floats never occur: `decode_json` keeps a number's digits.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, get_args

import msgspec

from shared.clock import parse_rfc3339
from shared.contracts.registry import PRICE_FIELDS, LongContextPricing, Model
from shared.errors import InvalidFieldError, MalformedRequestError
from shared.money import parse_number

MAX_USD_PER_MILLION: Final = Decimal(1_000_000)
"""A dollar per token. What is above it is a price in another unit."""

MAX_USD_PER_REQUEST: Final = Decimal(1_000)
MAX_LIMIT: Final = 1_000_000_000
MAX_ALIASES: Final = 100
_PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class UnfitError(ValueError):
    """A value that its field cannot hold; the text is a sentence for the publisher."""


class Unreadable(NamedTuple):
    """A number in the JSON that is no price and no limit, such as 1e400, and why."""

    reason: str


def decode_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Decode JSON with every fraction as an exact Decimal, or as `Unreadable`.

    Raises:
        MalformedRequestError: it is not JSON (a bare NaN is not either).
        InvalidFieldError: it holds an integer of absurd length.
    """
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidFieldError.of("body", f"holds a number that is too large: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequestError(f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise MalformedRequestError("The body is nested too deeply.") from None


def _exact(text: str) -> Decimal | Unreadable:
    try:
        return parse_number(text)
    except ValueError as error:
        return Unreadable(str(error))


_DECODER: Final = msgspec.json.Decoder(float_hook=_exact)


def read_price(value: object) -> Decimal | None:
    """Dollars per million tokens: null is no price, 0 is a price."""
    if value is None:
        return None
    price = _number(value, "a price must be a JSON number, such as 0.25, or null")
    if price < 0:
        raise UnfitError("must not be negative; a price that is not fixed is null")
    if price > MAX_USD_PER_MILLION:
        raise UnfitError(f"is above {MAX_USD_PER_MILLION} dollars per million tokens; is it in another unit?")
    return price


def read_request_price(value: object) -> Decimal | None:
    """Dollars per request."""
    price = read_price(value)
    if price is not None and price > MAX_USD_PER_REQUEST:
        raise UnfitError(f"is above {MAX_USD_PER_REQUEST} dollars per request; is it in another unit?")
    return price


def read_temperature(value: object) -> Decimal | None:
    """A sampling temperature."""
    if value is None:
        return None
    number = _number(value, "must be a number")
    if not 0 <= number <= 100:
        raise UnfitError("must be between 0 and 100")
    return number


def _number(value: object, sentence: str) -> Decimal:
    if isinstance(value, Unreadable):
        raise UnfitError(value.reason)
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        exact = _exact(str(value))
        if isinstance(exact, Decimal):
            return exact
        raise UnfitError(exact.reason)
    raise UnfitError(sentence)


def read_temperatures(value: object) -> list[Decimal] | None:
    """The only temperatures that the model takes."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_ALIASES:
        raise UnfitError("must be a short list of numbers")
    return [number for item in value if (number := read_temperature(item)) is not None]


def read_limit(value: object) -> int | None:
    """A number of tokens or tools; null where it is not known."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_LIMIT:
        raise UnfitError(f"must be a whole number between 0 and {MAX_LIMIT}, or null")
    return value


def read_threshold(value: object) -> int | None:
    """A number of input tokens above which other prices hold."""
    limit = read_limit(value)
    if limit == 0:
        raise UnfitError("must be at least 1, or null")
    return limit


def read_flag(value: object) -> bool | None:
    """True, false, or null where it is not known."""
    if value is None or isinstance(value, bool):
        return value
    raise UnfitError("must be true or false")


def read_text(value: object, max_length: int = 255) -> str | None:
    """A line of text."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise UnfitError("must be text")
    if len(value) > max_length:
        raise UnfitError(f"must have at most {max_length} characters")
    if "\x00" in value or not _is_unicode(value):
        raise UnfitError("must not hold NUL or half a surrogate pair")
    return value


def read_description(value: object) -> str | None:
    """A paragraph of text."""
    return read_text(value, max_length=4096)


def read_name(value: object) -> str:
    """A model's name or alias, as callers send it."""
    text = read_text(value)
    if not text or text != text.strip() or not text.isprintable():
        raise UnfitError("must be a name without blanks around it and without control characters")
    return text


def read_provider(value: object) -> str:
    """A provider's name as it stands in front of a key."""
    if not isinstance(value, str) or not _PROVIDER.fullmatch(value):
        raise UnfitError("must be 1 to 64 of a-z, 0-9, '.', '_' and '-', in lower case")
    return value


def read_aliases(value: object) -> list[str]:
    """Other names, each once, in the order given."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_ALIASES:
        raise UnfitError(f"must be a list of at most {MAX_ALIASES} names")
    names = [read_name(item) for item in value]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise UnfitError(f"names {', '.join(doubles)} twice")
    return names


def read_day(value: object) -> date | None:
    """A calendar day; of an instant, its day in UTC."""
    if value is None:
        return None
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise UnfitError("is not a day of the calendar") from None
    return _instant(value, "must be a day, YYYY-MM-DD").date()


def read_instant(value: object) -> datetime | None:
    """An instant with its offset; a day alone is its beginning in UTC."""
    if value is None:
        return None
    if isinstance(value, str) and _DAY.fullmatch(value):
        value = f"{value}T00:00:00Z"
    return _instant(value, "must be an instant with its offset (RFC 3339), or a day, YYYY-MM-DD")


def _instant(value: object, sentence: str) -> datetime:
    try:
        return parse_rfc3339(value if isinstance(value, str) else "")
    except ValueError:
        raise UnfitError(sentence) from None


def read_long_context_pricing(value: object) -> LongContextPricing | None:
    """How a request above the threshold is billed."""
    if value is None:
        return None
    for option in get_args(LongContextPricing):
        if value == option:
            return option  # type: ignore[no-any-return]  # one of the literal's own values
    raise UnfitError("must be 'whole_request' or 'marginal'")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Reader = Callable[[object], Any]

_BY_NAME: Final[dict[str, Reader]] = {
    "provider": read_provider,
    "model_name": read_name,
    "description": read_description,
    "model_aliases": read_aliases,
    "max_temperature": read_temperature,
    "min_temperature": read_temperature,
    "temperature_values": read_temperatures,
    "long_context_threshold_tokens": read_threshold,
    "long_context_pricing": read_long_context_pricing,
    "cache_storage_cost_per_million_tokens_per_hour": read_price,
    "inactive_from": read_instant,
    **dict.fromkeys(("added_date", "release_date", "deprecated_date"), read_day),
    **dict.fromkeys(
        (
            "max_context",
            "max_input_tokens",
            "max_output_tokens",
            "max_tools",
            "min_recommended_reasoning_tokens",
        ),
        read_limit,
    ),
    **dict.fromkeys(("display_name", "model_family", "tool_call_format", "api_endpoint"), read_text),
    **dict.fromkeys(PRICE_FIELDS, read_price),
    "dollars_per_request": read_request_price,
}

READERS: Final[dict[str, Reader]] = {
    name: _BY_NAME.get(name, read_flag)
    for name in Model.__struct_fields__
    if name not in ("service_tiers", "long_context_steps", "created_at", "updated_at")
}
"""The reader of each field that a publisher may set. Whatever is not named above is a flag."""
