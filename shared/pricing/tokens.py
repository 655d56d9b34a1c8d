"""The token counts of one call, and the one law they obey: parts are no more than their whole."""

from typing import Final

import msgspec

from shared.errors import Fault


class Tokens(msgspec.Struct, frozen=True):
    """The token counts of one call.

    `input` includes cached reads, cache writes and audio; `output` includes reasoning and audio. The parts of
    a whole do not overlap.
    """

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0


INPUT_PARTS: Final = ("cached_input", "cache_write_5m", "cache_write_1h", "audio_input")
OUTPUT_PARTS: Final = ("reasoning", "audio_output")


def find_token_faults(tokens: Tokens) -> list[Fault]:
    """Name every part that is more than its whole, alone or together with the whole's other parts.

    Fields are named as in a usage record (`cached_input_tokens`). Source: wire contract, section "Usage":
    parts greater than their whole are refused, unless the record brings its own cost.
    """
    if (
        tokens.cached_input + tokens.cache_write_5m + tokens.cache_write_1h + tokens.audio_input
        <= tokens.input
        and tokens.reasoning + tokens.audio_output <= tokens.output
    ):
        return []
    return [*_faults_of(tokens, "input", INPUT_PARTS), *_faults_of(tokens, "output", OUTPUT_PARTS)]


def _faults_of(tokens: Tokens, whole: str, parts: tuple[str, ...]) -> list[Fault]:
    total = getattr(tokens, whole)
    counted = {part: count for part in parts if (count := getattr(tokens, part))}
    alone = [
        Fault(
            f"{part}_tokens",
            f"is {count}, more than {whole}_tokens ({total}): {whole}_tokens must include {part}_tokens",
        )
        for part, count in counted.items()
        if count > total
    ]
    if alone or sum(counted.values()) <= total:
        return alone
    names = " + ".join(f"{part}_tokens" for part in counted)
    together = (
        f"{names} is {sum(counted.values())}, more than {whole}_tokens ({total}), which must include them"
    )
    return [Fault(f"{part}_tokens", together) for part in counted]
