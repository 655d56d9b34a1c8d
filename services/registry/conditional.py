"""Conditional requests and content coding: what a client already has, and in which form it takes more."""

import re
from typing import Final

from services.registry.edition import CODINGS

_ALSO_CALLED: Final = {"x-gzip": "gzip"}
_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


def find_match(if_none_match: str, tags: tuple[str, ...]) -> str | None:
    """The first of these entity tags that an `If-None-Match` names, or None.

    Compares weakly, as RFC 9110, 13.1.2 has it: `W/"x"` matches `"x"`; `*` matches whatever there is.

    Args:
        if_none_match: the header's value; several headers are joined by commas.
        tags: the current tags, without quotes; the one that would be sent first.
    """
    if if_none_match.strip() == "*":
        return tags[0]
    named = set(_TAG.findall(if_none_match))
    return next((tag for tag in tags if tag in named), None)


def choose_coding(accept_encoding: str) -> str | None:
    """The best of our codings that an `Accept-Encoding` (RFC 9110, 12.5.3) takes; None for the plain bytes.

    A coding is taken that is named with a weight above 0; of equal weights ours decide. `*` takes what is not
    named: of that, gzip, which everybody can read.
    """
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.partition(";")
        weights[_ALSO_CALLED.get(coding.strip(), coding.strip())] = _weight(parameters)
    weights.setdefault("gzip", weights.get("*", 0.0))
    best = max(CODINGS, key=lambda coding: weights.get(coding, 0.0))
    return best if weights.get(best, 0.0) > 0 else None


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if weight <= 1 else 0.0  # nan too
