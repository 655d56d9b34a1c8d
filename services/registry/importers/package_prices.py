"""Price sets of the package `genai-prices` in the fields of this registry.

Its units are in its own table of units; here are those that a usage record of ours counts. Above a tier's
start all tokens bill at the tier's price, each kind of token with tiers of its own. That is what our
long-context steps do.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from genai_prices.types import ModelPrice, TieredPrices

from shared.money import EXACT

_P: Final = "dollars_per_million_tokens_"
TOKEN_PRICES: Final[dict[str, tuple[str, ...]]] = {
    "input_mtok": (f"{_P}input",),
    "output_mtok": (f"{_P}output",),
    "cache_read_mtok": (f"{_P}cached_input",),
    # Writes of any lifetime, unless those of one hour have their own price, which comes next.
    "cache_write_mtok": (f"{_P}cache_write_5m", f"{_P}cache_write_1h"),
    "cache_write_5m_mtok": (f"{_P}cache_write_5m",),
    "cache_write_1h_mtok": (f"{_P}cache_write_1h",),
    "input_audio_mtok": (f"{_P}audio_input",),
    "output_audio_mtok": (f"{_P}audio_output",),
    "output_reasoning_mtok": (f"{_P}output_thinking",),
}
"""The fields that each of the package's prices fills; a later one wins over an earlier one."""

REQUEST_PRICE: Final = "requests_kcount"
_SINGLE_STEP: Final = (f"{_P}input", f"{_P}output", f"{_P}cached_input")


def list_prices(prices: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    """The prices that are there, by the package's own names."""
    return {
        name: price for name, price in vars(prices).items() if price is not None and not name.startswith("_")
    }


def list_unmapped(prices: ModelPrice) -> list[str]:
    """The names of those prices that have no field here."""
    return [name for name in list_prices(prices) if name not in TOKEN_PRICES and name != REQUEST_PRICE]


def map_sets(sets: Mapping[str, ModelPrice]) -> dict[str, Any]:
    """The price fields of a model: its own from the set `standard`, those of other service tiers besides.

    One step that has only the three prices which `long_context_threshold_tokens` goes with is told so, since
    older readers know it; anything else as `long_context_steps`.
    """
    mapped = {tier: _map_set(prices) for tier, prices in sets.items()}
    starts = {start for _, steps in mapped.values() for start in steps}
    names = {name for _, steps in mapped.values() for step in steps.values() for name in step}
    single = len(starts) == 1 and names <= set(_SINGLE_STEP)
    raw: dict[str, Any] = {}
    tiers: dict[str, Any] = {}
    for tier, (base, steps) in mapped.items():
        shown = base | (_as_long_context(steps) if single else _as_steps(steps))
        if tier == "standard":
            raw |= shown
        elif shown:
            tiers[tier] = shown
    if single:
        raw["long_context_threshold_tokens"] = next(iter(starts))
    if tiers:
        raw["service_tiers"] = tiers
    return raw


_Steps = dict[int, dict[str, Decimal]]


def _map_set(prices: ModelPrice) -> tuple[dict[str, Any], _Steps]:
    """The base prices, and by number of input tokens those that are other ones above it."""
    there = list_prices(prices)
    priced = {
        field: there[name] for name, fields in TOKEN_PRICES.items() if name in there for field in fields
    }
    base: dict[str, Any] = {field: _price_at(price, 0) for field, price in priced.items()}
    steps: _Steps = {}
    for start in _list_starts(priced.values()):
        step = {
            field: price_there
            for field, price in priced.items()
            if (price_there := _price_at(price, start + 1)) != base[field]
        }
        if step:
            steps[start] = step
    request = there.get(REQUEST_PRICE)
    if isinstance(request, Decimal):
        base["dollars_per_request"] = EXACT.scaleb(request, -3)
    return base, steps


def _list_starts(prices: Iterable[Decimal | TieredPrices]) -> list[int]:
    return sorted({tier.start for price in prices if isinstance(price, TieredPrices) for tier in price.tiers})


def _price_at(price: Decimal | TieredPrices, input_tokens: int) -> Decimal:
    """The price where a request has so many input tokens."""
    if isinstance(price, Decimal):
        return price
    passed = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return passed[-1] if passed else price.base


def _as_long_context(steps: _Steps) -> dict[str, Any]:
    return {f"{name}_long_context": price for step in steps.values() for name, price in step.items()}


def _as_steps(steps: _Steps) -> dict[str, Any]:
    return (
        {"long_context_steps": [{"above_tokens": start, **step} for start, step in steps.items()]}
        if steps
        else {}
    )
