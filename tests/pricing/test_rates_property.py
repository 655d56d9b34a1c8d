"""`quote` against an independent oracle that is written straight from the contract, in fractions."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.registry import Model
from shared.money import ZERO
from shared.pricing.rates import Quote, quote
from shared.pricing.tokens import INPUT_PARTS, OUTPUT_PARTS, Tokens, find_token_faults
from tests.pricing.price_card import SHORT, make_model

TIERS = ("standard", "batch", "flex", "priority")
P = "dollars_per_million_tokens_"

amounts = st.one_of(
    st.none(),
    st.just("0"),
    st.integers(0, 10**30).map(lambda n: format(Decimal(n).scaleb(-26), "f")),
    st.sampled_from(["3.00", "0.30", "15", "0.0375", "1000000"]),
)
prices = st.dictionaries(st.sampled_from(sorted(SHORT)), amounts)
STEPPED = sorted(name for name in SHORT if not name.startswith(("long_", "request")))
step_prices = st.dictionaries(
    st.sampled_from([10, 25, 60, 200_000]),
    st.dictionaries(st.sampled_from(STEPPED), amounts, min_size=1),
    max_size=3,
)
counts = st.one_of(st.integers(0, 50), st.integers(0, 100_000_000))


@st.composite
def models(draw: st.DrawFn) -> Model:
    """With one threshold, or with steps, as `read_entry` lets them pass."""
    fields: dict[str, Any] = draw(prices)
    if draw(st.booleans()):
        return make_model(
            "m",
            **fields,
            steps=draw(step_prices),
            tiers={
                tier: {**each, "steps": draw(step_prices)}
                for tier, each in draw(
                    st.dictionaries(st.sampled_from(TIERS[1:]), prices, max_size=2)
                ).items()
            },
        )
    return make_model(
        "m",
        **fields,
        long_context_threshold_tokens=draw(st.one_of(st.none(), st.integers(1, 100), st.just(200_000))),
        long_context_pricing=draw(st.sampled_from([None, "whole_request", "marginal"])),
        tiers=draw(st.dictionaries(st.sampled_from(TIERS[1:]), prices, max_size=2)),
    )


@st.composite
def whole_tokens(draw: st.DrawFn) -> Tokens:
    """Counts whose parts fit into their wholes."""
    parts = {part: draw(counts) for part in (*INPUT_PARTS, *OUTPUT_PARTS) if draw(st.booleans())}
    return Tokens(
        input=sum(parts.get(part, 0) for part in INPUT_PARTS) + draw(counts),
        output=sum(parts.get(part, 0) for part in OUTPUT_PARTS) + draw(counts),
        **parts,
    )


def oracle(tokens: Tokens, model: Model, tier: str) -> Fraction | None:
    """The cost by the contract's words; None where the call cannot be priced."""
    tiers: dict[str, Any] = {"standard": model, **model.service_tiers}
    entry = tiers.get(tier)
    if entry is None:
        return None

    def price(name: str) -> Fraction | None:
        amount = getattr(entry, P + name)
        return None if amount is None else Fraction(amount)

    def first(*names: str) -> Fraction | None:
        return next((found for name in names if (found := price(name)) is not None), None)

    if price("input") is None and price("output") is None and entry.dollars_per_request is None:
        return None
    own = {
        "cached_input": ("cached_input", "cache_read"),
        "cache_write_5m": ("cache_write_5m",),
        "cache_write_1h": ("cache_write_1h",),
        "audio_input": ("audio_input",),
        "reasoning": ("output_thinking",),
        "audio_output": ("audio_output",),
    }
    threshold = model.long_context_threshold_tokens
    over = max(0, tokens.input - threshold) if threshold is not None else 0
    marginal = model.long_context_pricing == "marginal"

    passed = [step for step in entry.long_context_steps if tokens.input > step.above_tokens]
    step = max(passed, key=lambda each: each.above_tokens, default=None)

    def rate(kind: str, *, long: bool) -> Fraction | None:
        for name in own.get(kind, (kind,)) if step is not None else ():
            amount = getattr(step, P + name)
            if amount is not None:
                return Fraction(amount)
        whole = "output" if kind in (*OUTPUT_PARTS, "output") else "input"
        suffix = ("_long_context",) if long else ()
        names = [kind + s for s in suffix if kind in ("input", "output", "cached_input")]
        names += own.get(kind, ())
        if step is not None and kind != whole and first(*names) is None:
            return rate(whole, long=long)
        names += [whole + s for s in suffix] + [whole]
        return first(*names)

    buckets = {part: getattr(tokens, part) for part in (*INPUT_PARTS, *OUTPUT_PARTS)}
    buckets["input"] = tokens.input - sum(buckets[part] for part in INPUT_PARTS)
    buckets["output"] = tokens.output - sum(buckets[part] for part in OUTPUT_PARTS)
    total = Fraction(0)
    left = over
    for kind in ("input", "audio_input", "cache_write_1h", "cache_write_5m", "cached_input",
                 "output", *OUTPUT_PARTS):  # fmt: skip
        count = buckets[kind]
        if not marginal:
            above = count if over else 0
        elif kind in ("output", *OUTPUT_PARTS):
            above = 0
        else:
            above = min(left, count)
            left -= above
        for number, long in ((above, True), (count - above, False)):
            if number:
                usd_per_million = rate(kind, long=long)
                if usd_per_million is None:
                    return None
                total += number * usd_per_million / 1_000_000
    return total + Fraction(entry.dollars_per_request or 0)


def check_invariants(answer: Quote, tokens: Tokens) -> None:
    if answer.cost is None:
        assert answer.status != "priced"
        assert answer.lines == ()
        return
    assert answer.status == "priced"
    assert answer.cost >= 0
    assert sum((Fraction(line.usd) for line in answer.lines), Fraction(0)) == Fraction(answer.cost)
    for line in answer.lines:
        assert line.tokens > 0
        assert Fraction(line.usd) == line.tokens * Fraction(line.usd_per_million) / 1_000_000
    input_kinds = {"input", *INPUT_PARTS}
    assert sum(line.tokens for line in answer.lines if line.kind in input_kinds) == tokens.input
    output_kinds = {"output", *OUTPUT_PARTS}
    assert sum(line.tokens for line in answer.lines if line.kind in output_kinds) == tokens.output
    assert sum(line.kind == "request" for line in answer.lines) <= 1


@settings(max_examples=400, deadline=None)
@given(whole_tokens(), models(), st.sampled_from(TIERS))
def test_the_cost_is_what_the_contract_says_to_the_last_digit(
    tokens: Tokens, model: Model, tier: str
) -> None:
    assert find_token_faults(tokens) == []
    answer = quote(tokens, model, tier)
    check_invariants(answer, tokens)
    expected = oracle(tokens, model, tier)
    assert (None if answer.cost is None else Fraction(answer.cost)) == expected


@settings(max_examples=200, deadline=None)
@given(whole_tokens(), models(), st.sampled_from(["input", "output"]), counts)
def test_more_tokens_never_cost_less_at_base_prices(
    tokens: Tokens, model: Model, kind: str, more: int
) -> None:
    model = msgspec.structs.replace(model, long_context_threshold_tokens=None, long_context_steps=[])
    before = quote(tokens, model)
    after = quote(msgspec.structs.replace(tokens, **{kind: getattr(tokens, kind) + more}), model)
    if before.cost is not None and after.cost is not None:
        assert after.cost >= before.cost


@settings(max_examples=200, deadline=None)
@given(st.lists(counts, min_size=8, max_size=8), models(), st.sampled_from(TIERS))
def test_counts_that_contradict_each_other_never_give_a_negative_cost(
    numbers: list[int], model: Model, tier: str
) -> None:
    tokens = Tokens(*numbers)
    answer = quote(tokens, model, tier)
    assert answer.cost is None or answer.cost >= ZERO
    fits = sum(getattr(tokens, p) for p in INPUT_PARTS) <= tokens.input and (
        sum(getattr(tokens, p) for p in OUTPUT_PARTS) <= tokens.output
    )
    assert (find_token_faults(tokens) == []) is fits
