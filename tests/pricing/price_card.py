"""The price card that the pricing and registry tests share; models and prices are invented."""

from decimal import Decimal
from typing import Any

from shared.contracts.registry import LongContextStep, Model, Prices

SHORT = {
    "input": "dollars_per_million_tokens_input",
    "output": "dollars_per_million_tokens_output",
    "cached": "dollars_per_million_tokens_cached_input",
    "cache_read": "dollars_per_million_tokens_cache_read",
    "write_5m": "dollars_per_million_tokens_cache_write_5m",
    "write_1h": "dollars_per_million_tokens_cache_write_1h",
    "thinking": "dollars_per_million_tokens_output_thinking",
    "audio_in": "dollars_per_million_tokens_audio_input",
    "audio_out": "dollars_per_million_tokens_audio_output",
    "long_in": "dollars_per_million_tokens_input_long_context",
    "long_out": "dollars_per_million_tokens_output_long_context",
    "long_cached": "dollars_per_million_tokens_cached_input_long_context",
    "request": "dollars_per_request",
}


def named(prices: dict[str, str | None]) -> dict[str, Any]:
    """Prices by short name as the fields of a model."""
    return {SHORT[name]: None if text is None else Decimal(text) for name, text in prices.items()}


def make_model(name: str, provider: str = "acme", **fields: Any) -> Model:
    """A model from short price names, `steps` by their number of tokens, and any other field of `Model`."""
    prices = named({key: fields.pop(key) for key in list(fields) if key in SHORT})
    tiers = {tier: _make_set(prices) for tier, prices in fields.pop("tiers", {}).items()}
    steps = _make_steps(fields.pop("steps", {}))
    return Model(
        provider=provider,
        model_name=name,
        service_tiers=tiers,
        long_context_steps=steps,
        **prices,
        **fields,
    )


def _make_set(prices: dict[str, Any]) -> Prices:
    steps = _make_steps(prices.get("steps", {}))
    named_prices = named({name: text for name, text in prices.items() if name != "steps"})
    return Prices(long_context_steps=steps, **named_prices)


def _make_steps(steps: dict[int, dict[str, str | None]]) -> list[LongContextStep]:
    return [LongContextStep(above_tokens=above, **named(steps[above])) for above in sorted(steps)]


CARD: dict[str, Model] = {
    f"{model.provider}:{model.model_name}": model
    for model in (
        make_model(
            "quill-1",
            input="3.00",
            output="15.00",
            cached="0.30",
            write_5m="3.75",
            write_1h="6.00",
            tiers={"batch": {"input": "1.50", "output": "7.50", "cached": "0.15"}},
        ),
        make_model(
            "quill-1-mini",
            input="0.40",
            output="1.60",
            cached="0.10",
            model_aliases=["quill-1-mini-20260115"],
        ),
        make_model("quill-1-pro", input="12.00", output="60.00"),
        make_model("quill-1", "globex", input="5.00", output="20.00"),
        make_model("nocache", input="2.00", output="8.00"),
        make_model("free-7b", input="0", output="0", cached="0"),
        make_model("half-free", input="0", output="2.00", cached="0"),
        make_model("zero-read", input="3.00", output="15.00", cached="0"),
        make_model(
            "deepwell",
            input="1.25",
            output="10.00",
            cached="0.125",
            long_context_threshold_tokens=200_000,
            long_in="2.50",
            long_out="15.00",
            long_cached="0.25",
        ),
        make_model("thinker", input="1.00", output="4.00"),
        make_model("speaker", input="0.60", output="2.40", audio_in="10.00", audio_out="20.00"),
        make_model("dust", input="0.005", output="0.005"),
        make_model("whale", input="15.00", output="75.00"),
        make_model("penny", input="0.10", output="0.40"),
        make_model("old-1", input="10.00", output="30.00", is_active=False),
    )
}
