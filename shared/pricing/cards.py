"""A model's prices, worked out once into the rate that each kind of token meets.

The rules of falling back are here: a part without a price follows its whole, a missing long-context price
follows its base price, a service tier follows nothing outside its own price set. See `shared.pricing.rates`.
"""

import weakref
from decimal import Decimal
from typing import Final, NamedTuple

from shared.contracts.registry import LongContextStep, Model, Prices, TokenPrices
from shared.money import EXACT

STANDARD: Final = "standard"


class Rate(NamedTuple):
    """A price per million tokens, and the same per token; or of a million requests and of one."""

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


class StepSheet(NamedTuple):
    """The rates of requests with more than so many tokens of input."""

    above_tokens: int
    sheet: Sheet


class TierSheets(NamedTuple):
    """The rates of one service tier: base, long-context with the highest step first, and of the request."""

    base: Sheet
    steps: tuple[StepSheet, ...]
    request: Rate | None


class RateCard(NamedTuple):
    """A model's prices, worked out once: the sheets of each priced service tier."""

    tiers: dict[str, TierSheets]
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
    """Work out the sheets of every tier that has a price for input, output or a request."""
    sets: list[tuple[str, Prices]] = [(STANDARD, model), *model.service_tiers.items()]
    return RateCard(
        tiers={
            tier: TierSheets(
                base=_sheet(prices, _NOTHING),
                steps=tuple(
                    StepSheet(step.above_tokens, _sheet(prices, step))
                    for step in sorted(
                        _list_steps(prices, model.long_context_threshold_tokens),
                        key=lambda step: -step.above_tokens,
                    )
                ),
                request=_per_request(prices.dollars_per_request),
            )
            for tier, prices in sets
            if prices.dollars_per_million_tokens_input is not None
            or prices.dollars_per_million_tokens_output is not None
            or prices.dollars_per_request is not None
        },
        marginal=model.long_context_pricing == "marginal",
    )


def _list_steps(prices: Prices, threshold: int | None) -> list[LongContextStep]:
    steps = list(prices.long_context_steps)
    if threshold is not None:
        single = LongContextStep(
            above_tokens=threshold,
            dollars_per_million_tokens_input=prices.dollars_per_million_tokens_input_long_context,
            dollars_per_million_tokens_output=prices.dollars_per_million_tokens_output_long_context,
            dollars_per_million_tokens_cached_input=(
                prices.dollars_per_million_tokens_cached_input_long_context
            ),
        )
        if single != LongContextStep(above_tokens=threshold):
            steps.append(single)
    return steps


_NOTHING: Final = TokenPrices()


def _sheet(base: TokenPrices, step: TokenPrices) -> Sheet:
    """The rates of a step's prices, and of the base's where the step has none."""

    def own(name: str) -> Decimal | None:
        return _first(getattr(step, name), getattr(base, name))

    whole_input = own("dollars_per_million_tokens_input")
    whole_output = own("dollars_per_million_tokens_output")

    def part(name: str, whole: Decimal | None) -> Rate | None:
        return _rate(_first(own(f"dollars_per_million_tokens_{name}"), whole))

    return Sheet(
        input=_rate(whole_input),
        cached_input=_rate(_first(_first(_cached_price(step), _cached_price(base)), whole_input)),
        cache_write_5m=part("cache_write_5m", whole_input),
        cache_write_1h=part("cache_write_1h", whole_input),
        audio_input=part("audio_input", whole_input),
        output=_rate(whole_output),
        reasoning=part("output_thinking", whole_output),
        audio_output=part("audio_output", whole_output),
    )


def _cached_price(prices: TokenPrices) -> Decimal | None:
    return _first(
        prices.dollars_per_million_tokens_cached_input, prices.dollars_per_million_tokens_cache_read
    )


def _first(price: Decimal | None, fallback: Decimal | None) -> Decimal | None:
    # Not `price or fallback`: 0 is a price.
    return fallback if price is None else price


def _rate(price: Decimal | None) -> Rate | None:
    return None if price is None else Rate(price, EXACT.scaleb(price, -6))


def _per_request(price: Decimal | None) -> Rate | None:
    return None if price is None else Rate(EXACT.scaleb(price, 6), price)
