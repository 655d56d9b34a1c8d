"""Tokens times rates: the exact price of one call, with a line for every rate that was met.

The rules (wire contract, section "Usage"):

* A part without a price of its own bills at the price of its whole. A price of 0 is a price; null is none.
* Strictly above the long-context threshold, measured on all input, the whole request bills at the
  long-context prices of input, output and cached input. A part without a long-context price keeps its own
  base price if it has one, and else follows its whole. With `long_context_pricing: marginal` only the input
  above the threshold bills so, and output stays at its base price.
* With `long_context_steps` the highest step that all input is strictly above bills the whole request, with
  the same rules: a price that the step does not have is the base price, and else a part follows its whole.
* `dollars_per_request` is added to whatever the tokens cost, once, as a line of the kind `request`.
* A service tier other than `standard` is priced from its own price set alone, by the same rules.
* A call is unpriced if neither input nor output nor a request has a price, or if any of its tokens is without
  one. It is never half priced, and never silently free.
"""

from decimal import Decimal
from typing import Final, NamedTuple

from shared.contracts.registry import Model
from shared.contracts.usage import CostStatus
from shared.money import EXACT, ZERO
from shared.pricing.cards import KINDS, STANDARD, Sheet, StepSheet, get_rate_card
from shared.pricing.tokens import Tokens


class Line(NamedTuple):
    """Some tokens of one kind that met one rate. `usd` is exactly `tokens * usd_per_million / 1_000_000`.

    The line of the kind `request` counts the request itself as 1, at the price of a million requests.
    """

    kind: str
    tokens: int
    usd_per_million: Decimal
    usd: Decimal


class Quote(NamedTuple):
    """What a call costs. `cost` is the sum of the lines, or None where `status` is not `priced`.

    Kinds with no tokens have no line. Under marginal long-context pricing a kind may have two lines.
    """

    status: CostStatus
    cost: Decimal | None
    lines: tuple[Line, ...]


_MODEL_UNKNOWN: Final = Quote("model_not_in_registry", None, ())
_NO_PRICE: Final = Quote("no_pricing_in_registry", None, ())
_NO_TIER_PRICE: Final = Quote("no_pricing_for_tier", None, ())


def quote(tokens: Tokens, model: Model | None, service_tier: str = STANDARD) -> Quote:
    """Price one call exactly, or say why it cannot be priced.

    Args:
        tokens: the counts. Where parts are more than their whole (which `find_token_faults` finds), nothing
            is left of the whole to bill beside them; a cost is never negative.
        model: the entry that the name resolved to, or None where it resolved to none.
        service_tier: `standard`, or a tier which the entry may have a price set for.
    """
    if model is None:
        return _MODEL_UNKNOWN
    card = get_rate_card(model)
    unpriced = _NO_PRICE if service_tier == STANDARD else _NO_TIER_PRICE
    sheets = card.tiers.get(service_tier)
    if sheets is None:
        return unpriced
    sheet, steps, request = sheets
    counts = _split(tokens)
    lines: list[Line] = []
    step = _find_step(tokens.input, steps) if steps else None
    if step is None:
        cost = _bill(counts, sheet, lines)
    elif card.marginal:
        cost = _bill_marginal(counts, sheet, step.sheet, tokens.input - step.above_tokens, lines)
    else:
        cost = _bill(counts, step.sheet, lines)
    if cost is None:
        return unpriced
    if request is not None:
        lines.append(Line("request", 1, request.usd_per_million, request.usd_per_token))
        cost = EXACT.add(cost, request.usd_per_token)
    return Quote("priced", cost, tuple(lines))


def _find_step(tokens: int, steps: tuple[StepSheet, ...]) -> StepSheet | None:
    """The highest step that this input is above."""
    for step in steps:
        if tokens > step.above_tokens:
            return step
    return None


def _split(tokens: Tokens) -> tuple[int, ...]:
    """The counts in the order of `KINDS`, each token in one kind alone."""
    cached, write_5m, write_1h = tokens.cached_input, tokens.cache_write_5m, tokens.cache_write_1h
    plain_input = tokens.input - cached - write_5m - write_1h - tokens.audio_input
    plain_output = tokens.output - tokens.reasoning - tokens.audio_output
    return (
        max(plain_input, 0),
        cached,
        write_5m,
        write_1h,
        tokens.audio_input,
        max(plain_output, 0),
        tokens.reasoning,
        tokens.audio_output,
    )


def _bill(counts: tuple[int, ...], sheet: Sheet, lines: list[Line]) -> Decimal | None:
    """Add a line for each kind that has tokens; the sum, or None where some tokens have no rate."""
    cost = ZERO
    for kind, count, rate in zip(KINDS, counts, sheet, strict=True):
        if count:
            if rate is None:
                return None
            usd = EXACT.multiply(rate.usd_per_token, count)
            lines.append(Line(kind, count, rate.usd_per_million, usd))
            cost = EXACT.add(cost, usd)
    return cost


# A cached prefix comes first in a prompt and fresh input last, so what lies above the threshold is taken from
# fresh input, then from audio and cache writes, and from cached reads only when all else is above it too.
_ABOVE_THRESHOLD_FIRST: Final = tuple(
    KINDS.index(kind) for kind in ("input", "audio_input", "cache_write_1h", "cache_write_5m", "cached_input")
)


def _bill_marginal(
    counts: tuple[int, ...], base: Sheet, long: Sheet, above: int, lines: list[Line]
) -> Decimal | None:
    below_counts, above_counts = list(counts), [0] * len(counts)
    for index in _ABOVE_THRESHOLD_FIRST:
        moved = min(above, counts[index])
        below_counts[index] -= moved
        above_counts[index] = moved
        above -= moved
    below_cost = _bill(tuple(below_counts), base, lines)
    above_cost = _bill(tuple(above_counts), long, lines)
    return None if below_cost is None or above_cost is None else EXACT.add(below_cost, above_cost)
