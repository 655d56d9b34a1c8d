from shared.errors import Fault
from shared.pricing.tokens import Tokens, find_token_faults


def test_cached_tokens_above_the_input_are_a_fault_that_names_both_fields() -> None:
    (fault,) = find_token_faults(Tokens(40, 90, cached_input=52_000))
    assert fault.field == "cached_input_tokens"
    assert "input_tokens (40)" in fault.message
    assert "must include cached_input_tokens" in fault.message


def test_parts_may_be_all_of_their_whole() -> None:
    full = Tokens(
        10, 5, cached_input=4, cache_write_5m=3, cache_write_1h=2, audio_input=1, reasoning=3, audio_output=2
    )
    assert find_token_faults(full) == []


def test_parts_that_are_too_many_only_together_are_each_named() -> None:
    faults = find_token_faults(Tokens(10, 5, cached_input=6, cache_write_5m=6))
    assert [fault.field for fault in faults] == ["cached_input_tokens", "cache_write_5m_tokens"]
    assert (
        "cached_input_tokens + cache_write_5m_tokens is 12, more than input_tokens (10)" in faults[0].message
    )


def test_faults_of_both_wholes_are_told_at_once() -> None:
    faults = find_token_faults(Tokens(1, 1, audio_input=2, reasoning=3))
    assert faults == [
        Fault(
            "audio_input_tokens",
            "is 2, more than input_tokens (1): input_tokens must include audio_input_tokens",
        ),
        Fault(
            "reasoning_tokens",
            "is 3, more than output_tokens (1): output_tokens must include reasoning_tokens",
        ),
    ]
