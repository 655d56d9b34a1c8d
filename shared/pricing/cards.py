"""A model's prices, worked out once into the rate that each kind of token meets.

The rules of falling back are here: a part without a price follows its whole, a missing long-context price
follows its base price, a service tier follows nothing outside its own price set. See `shared.pricing.rates`.
"""

import weakref
from decimal import Decimal
from typing import Final, NamedTuple

from shared.contracts.registry import Model, Prices
from shared.money import EXACT

STANDARD: Final = "standard"


class Rate(NamedTuple):
    """A price per million tokens, and the same per token."""

    usd_per_million: Decimal
    usd_per_token: Decimal


class Sheet(NamedTuple):
    """The rate that each kind of token meets; None where there is none."""

    input: Rate | None
    cached_input: Rate | None
    cache_write_5m: Rate | None
    cache_write_1h: Rate | None
    audio_input: Rate | None
    output: Rate | None
    reasoning: Rate | None
    audio_output: Rate | None


KINDS: Final = Sheet._fields


class TierSheets(NamedTuple):
    """The rates of one service tier: base, and long-context where it has a price of its own."""

    base: Sheet
    long: Sheet | None


class RateCard(NamedTuple):
    """A model's prices, worked out once: the sheets of each priced service tier."""

    tiers: dict[str, TierSheets]
    long_above_tokens: int
    marginal: bool


def get_rate_card(model: Model) -> RateCard:
    """The rate card of a model, worked out at the first call and kept for as long as the model lives."""
    kept = _cards.get(id(model))
    if kept is not None and kept[0]() is model:
        return kept[1]
    card = build_rate_card(model)
    address = id(model)
    _cards[address] = (weakref.ref(model, lambda _: _cards.pop(address, None)), card)
    return card


# By address, since hashing a model of 60 fields would cost more than pricing a call.
_cards: dict[int, tuple[weakref.ref[Model], RateCard]] = {}


def build_rate_card(model: Model) -> RateCard:
    """Work out the sheets of every tier that has a price for input or output."""
    threshold = model.long_context_threshold_tokens
    sets: list[tuple[str, Prices]] = [(STANDARD, model), *model.service_tiers.items()]
    return RateCard(
        tiers={
            tier: TierSheets(
                base=_base_sheet(prices),
                long=None if threshold is None else _long_sheet(prices),
            )
            for tier, prices in sets
            if prices.dollars_per_million_tokens_input is not None
            or prices.dollars_per_million_tokens_output is not None
        },
        long_above_tokens=threshold or 0,
        marginal=model.long_context_pricing == "marginal",
    )


def _base_sheet(prices: Prices) -> Sheet:
    return _sheet(
        prices,
        whole_input=prices.dollars_per_million_tokens_input,
        whole_output=prices.dollars_per_million_tokens_output,
        cached=_cached_price(prices),
    )


def _long_sheet(prices: Prices) -> Sheet | None:
    long_input = prices.dollars_per_million_tokens_input_long_context
    long_output = prices.dollars_per_million_tokens_output_long_context
    long_cached = prices.dollars_per_million_tokens_cached_input_long_context
    if long_input is None and long_output is None and long_cached is None:
        return None
    return _sheet(
        prices,
        whole_input=_first(long_input, prices.dollars_per_million_tokens_input),
        whole_output=_first(long_output, prices.dollars_per_million_tokens_output),
        cached=_first(long_cached, _cached_price(prices)),
    )


def _sheet(
    prices: Prices, *, whole_input: Decimal | None, whole_output: Decimal | None, cached: Decimal | None
) -> Sheet:
    return Sheet(
        input=_rate(whole_input),
        cached_input=_rate(_first(cached, whole_input)),
        cache_write_5m=_rate(_first(prices.dollars_per_million_tokens_cache_write_5m, whole_input)),
        cache_write_1h=_rate(_first(prices.dollars_per_million_tokens_cache_write_1h, whole_input)),
        audio_input=_rate(_first(prices.dollars_per_million_tokens_audio_input, whole_input)),
        output=_rate(whole_output),
        reasoning=_rate(_first(prices.dollars_per_million_tokens_output_thinking, whole_output)),
        audio_output=_rate(_first(prices.dollars_per_million_tokens_audio_output, whole_output)),
    )


def _cached_price(prices: Prices) -> Decimal | None:
    return _first(
        prices.dollars_per_million_tokens_cached_input, prices.dollars_per_million_tokens_cache_read
    )


def _first(price: Decimal | None, fallback: Decimal | None) -> Decimal | None:
    # Not `price or fallback`: 0 is a price.
    return fallback if price is None else price


def _rate(price: Decimal | None) -> Rate | None:
    return None if price is None else Rate(price, EXACT.scaleb(price, -6))
