"""Costs that were worked out by hand, one for each way in which such systems went wrong."""

from decimal import Decimal

import pytest

from shared.contracts.registry import Model
from shared.money import plain
from shared.pricing.names import NameIndex
from shared.pricing.rates import Line, quote
from shared.pricing.tokens import Tokens, find_token_faults
from tests.pricing.price_card import CARD, make_model

INDEX = NameIndex(CARD)

KNOWN = [
    ("U0", "quill-1", Tokens(1000, 100), "0.0045"),
    ("U1", "quill-1", Tokens(12400, 210, cached_input=11900), "0.00822"),
    ("U2", "nocache", Tokens(9000, 100, cached_input=6000), "0.0188"),
    ("U3b", "quill-1", Tokens(52000, 0, cached_input=52000), "0.0156"),
    ("U4a", "free-7b", Tokens(5000, 700), "0"),
    ("U4b", "half-free", Tokens(5000, 700, cached_input=4000), "0.0014"),
    ("U4c", "zero-read", Tokens(10000, 0, cached_input=9000), "0.003"),
    ("U7a", "quill-1-mini", Tokens(108, 36), "0.0001008"),
    ("U7c", "quill-1-mini", Tokens(700, 233), "0.0006528"),
    ("U9", "not-in-registry", Tokens(1000, 100), "model_not_in_registry"),
    ("U11", "acme/quill-1-mini", Tokens(2000, 500), "0.0016"),
    ("U11b", "acme:quill-1-mini", Tokens(2000, 500), "0.0016"),
    ("U12", "quill-1-mini-20260115", Tokens(2000, 500), "0.0016"),
    ("U14a", "deepwell", Tokens(200_000, 1000), "0.26"),
    ("U14b", "deepwell", Tokens(200_001, 1000), "0.5150025"),
    ("U14c", "deepwell", Tokens(250_000, 1000, cached_input=120_000), "0.37"),
    ("U14d", "deepwell", Tokens(150_000, 1000), "0.1975"),
    ("U17", "speaker", Tokens(1000, 300, audio_input=400, audio_output=250), "0.00948"),
    (
        "U18",
        "quill-1",
        Tokens(20_000, 500, cached_input=9000, cache_write_5m=4000, cache_write_1h=6000),
        "0.0642",
    ),
    ("U19", "quill-1", Tokens(1_000_000, 0), "3"),
    ("U19b", "quill-1", Tokens(1, 0), "0.000003"),
    ("U35", "penny", Tokens(10_000_000, 0), "1"),
    ("U38", "old-1", Tokens(10_000, 1000), "0.13"),
    ("dust", "dust", Tokens(1, 1), "0.00000001"),
    ("whale at the limit", "whale", Tokens(1_000_000_000, 1_000_000_000), "90000"),
    ("no tokens", "quill-1", Tokens(), "0"),
]


@pytest.mark.parametrize(("case", "name", "tokens", "expected"), KNOWN, ids=[row[0] for row in KNOWN])
def test_a_known_call_costs_exactly_what_was_worked_out(
    case: str, name: str, tokens: Tokens, expected: str
) -> None:
    key = INDEX.find_key("acme", name)
    answer = quote(tokens, CARD[key] if key else None, "standard")
    assert (plain(answer.cost) if answer.cost is not None else answer.status) == expected
    assert find_token_faults(tokens) == []


def cost_of(model: Model, tokens: Tokens, tier: str = "standard") -> str:
    answer = quote(tokens, model, tier)
    assert answer.cost is not None, answer.status
    assert answer.cost == sum((line.usd for line in answer.lines), Decimal(0))
    return plain(answer.cost)


def test_a_long_request_without_a_long_cached_price_keeps_the_base_cached_price() -> None:
    model = make_model(
        "well",
        input="1.25",
        output="10",
        cached="0.125",
        long_context_threshold_tokens=200_000,
        long_in="2.50",
        long_out="15",
    )
    assert cost_of(model, Tokens(250_000, 1000, cached_input=120_000)) == "0.355"


def test_a_long_request_without_any_cached_price_bills_cached_reads_at_the_long_input_price() -> None:
    model = make_model("well", input="1", output="1", long_context_threshold_tokens=10, long_in="2")
    assert cost_of(model, Tokens(20, 0, cached_input=10)) == "0.00004"


def test_a_threshold_without_long_prices_changes_nothing() -> None:
    model = make_model("well", input="1", output="1", long_context_threshold_tokens=10)
    assert cost_of(model, Tokens(20, 20)) == "0.00004"


def test_a_long_price_for_output_alone_leaves_input_at_its_base_price() -> None:
    model = make_model("well", input="1", output="1", long_context_threshold_tokens=10, long_out="3")
    assert cost_of(model, Tokens(20, 10)) == "0.00005"


def test_marginal_pricing_bills_only_the_input_above_the_threshold_at_the_long_price() -> None:
    model = make_model(
        "well",
        input="1.25",
        output="10.00",
        cached="0.125",
        long_context_threshold_tokens=200_000,
        long_in="2.50",
        long_out="15.00",
        long_cached="0.25",
        long_context_pricing="marginal",
    )
    assert cost_of(model, Tokens(200_000, 1000)) == "0.26"
    assert cost_of(model, Tokens(200_001, 1000)) == "0.2600025"
    # 130,000 fresh and 120,000 cached tokens: the 50,000 above the threshold are fresh ones.
    assert cost_of(model, Tokens(250_000, 1000, cached_input=120_000)) == "0.25"
    # 20,000 fresh and 230,000 cached: all the fresh ones and 30,000 cached ones are above it.
    assert cost_of(model, Tokens(250_000, 0, cached_input=230_000)) == "0.0825"


def test_the_highest_step_that_all_input_is_above_bills_the_whole_request() -> None:
    ladder = make_model(
        "ladder",
        input="1",
        output="4",
        cached="0.1",
        write_5m="1.25",
        steps={
            32_000: {"input": "2", "output": "8", "write_5m": "2.5"},
            128_000: {"input": "3", "cached": "0.3"},
        },
    )

    def cost(tokens: int) -> Decimal | None:
        return quote(Tokens(input=tokens, cached_input=1000, cache_write_5m=1000, output=1000), ladder).cost

    assert cost(32_000) == Decimal("0.03535")  # 30,000 + 1,000 cached + 1,000 written + 1,000 out
    assert cost(32_001) == Decimal("0.070602")  # a cached price that the step lacks is the base one
    assert cost(128_000) == Decimal("0.2626")
    assert cost(128_001) == Decimal("0.383553")  # what the highest step lacks is the base price too


def test_a_request_has_a_price_of_its_own_whatever_its_tokens_cost() -> None:
    searcher = make_model("searcher", input="1", output="1", request="0.012")
    answer = quote(Tokens(input=500, output=200), searcher)
    assert answer.cost == Decimal("0.0127")
    assert answer.lines[-1] == Line("request", 1, Decimal(12_000), Decimal("0.012"))
    by_request_alone = make_model("ranker", request="0.002")
    assert quote(Tokens(), by_request_alone).cost == Decimal("0.002")
    assert quote(Tokens(input=1), by_request_alone).status == "no_pricing_in_registry"


def test_a_batch_call_is_billed_at_the_batch_prices_including_its_cached_part() -> None:
    quill = CARD["acme:quill-1"]
    assert cost_of(quill, Tokens(1_000_000, 100_000), "batch") == "2.25"
    assert cost_of(quill, Tokens(1_000_000, 100_000, cached_input=400_000), "batch") == "1.71"


def test_a_part_without_a_price_in_its_tier_bills_at_the_tiers_own_whole_price() -> None:
    # quill-1 has a cache write price of 3.75, but its batch set has none: 1.50 is the batch input price.
    assert cost_of(CARD["acme:quill-1"], Tokens(1_000_000, 0, cache_write_5m=1_000_000), "batch") == "1.5"


@pytest.mark.parametrize("tier", ["flex", "priority", "batch"])
def test_a_tier_without_prices_is_never_billed_at_another_tiers(tier: str) -> None:
    answer = quote(Tokens(1000, 100), CARD["acme:penny"], tier)
    assert answer == ("no_pricing_for_tier", None, ())


def test_a_tier_can_be_priced_where_the_standard_one_is_not() -> None:
    model = make_model("night", tiers={"batch": {"input": "1", "output": "2"}})
    assert quote(Tokens(10, 0), model).status == "no_pricing_in_registry"
    assert cost_of(model, Tokens(10, 0), "batch") == "0.00001"


def test_a_tier_has_long_context_prices_of_its_own_or_none() -> None:
    tiers = {"batch": {"input": "1", "output": "1", "long_in": "2"}, "flex": {"input": "1", "output": "1"}}
    model = make_model(
        "well", input="4", output="4", long_context_threshold_tokens=10, long_in="8", tiers=tiers
    )
    assert cost_of(model, Tokens(20, 0), "batch") == "0.00004"
    assert cost_of(model, Tokens(20, 0), "flex") == "0.00002"


def test_reasoning_has_its_own_price_or_that_of_output() -> None:
    tokens = Tokens(1000, 500, reasoning=300)
    assert cost_of(CARD["acme:thinker"], tokens) == "0.003"
    assert cost_of(make_model("thinker", input="1", output="4", thinking="6"), tokens) == "0.0036"


def test_audio_without_a_price_bills_at_the_text_price_and_never_at_nothing() -> None:
    deaf = make_model("speaker", input="0.60", output="2.40")
    assert cost_of(deaf, Tokens(1000, 300, audio_input=400, audio_output=250)) == "0.00132"


def test_cached_input_and_cache_read_are_one_price_and_the_first_is_read_first() -> None:
    tokens = Tokens(1_000_000, 0, cached_input=1_000_000)
    assert cost_of(make_model("m", input="3", output="3", cache_read="0.3"), tokens) == "0.3"
    assert cost_of(make_model("m", input="3", output="3", cached="0.2", cache_read="0.3"), tokens) == "0.2"
    assert cost_of(make_model("m", input="3", output="3", cached="0", cache_read="0.3"), tokens) == "0"


def test_a_model_without_prices_is_unpriced_even_for_no_tokens() -> None:
    assert quote(Tokens(), make_model("m")) == ("no_pricing_in_registry", None, ())
    assert quote(Tokens(1, 1), make_model("m")) == ("no_pricing_in_registry", None, ())


def test_one_missing_price_matters_only_to_calls_that_need_it() -> None:
    embedder = make_model("embed", input="0.02")
    assert cost_of(embedder, Tokens(1000, 0)) == "0.00002"
    assert quote(Tokens(1000, 1), embedder).status == "no_pricing_in_registry"
    voice = make_model("voice", input="0.60", audio_out="12")
    assert cost_of(voice, Tokens(100, 50, audio_output=50)) == "0.00066"
    assert quote(Tokens(100, 51, audio_output=50), voice).status == "no_pricing_in_registry"


def test_the_breakdown_names_each_rate_that_was_met_and_nothing_else() -> None:
    answer = quote(Tokens(12400, 210, cached_input=11900), CARD["acme:quill-1"])
    assert [
        (line.kind, line.tokens, plain(line.usd_per_million), plain(line.usd)) for line in answer.lines
    ] == [
        ("input", 500, "3", "0.0015"),
        ("cached_input", 11900, "0.3", "0.00357"),
        ("output", 210, "15", "0.00315"),
    ]


def test_a_cost_is_never_negative_even_when_the_parts_are_more_than_the_whole() -> None:
    tokens = Tokens(40, 90, cached_input=52_000)
    assert cost_of(CARD["acme:quill-1"], tokens) == "0.01695"


def test_prices_that_change_in_a_new_model_are_not_read_from_the_old_ones_card() -> None:
    for price in range(1, 200):
        assert cost_of(make_model("m", input=str(price), output="1"), Tokens(1_000_000)) == str(price)
