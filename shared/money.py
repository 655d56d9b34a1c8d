"""Exact decimal money: no float anywhere, no rounding, plain notation.

Every operation runs in `EXACT`, a context that raises where a result would have to be rounded, so a cost is
either right to the last digit or an error. Source of the rules: the wire contract, sections "Everywhere"
and "Usage".
"""

from decimal import Clamped, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, Underflow

ZERO = Decimal(0)

# 10 digits of tokens times a price of up to 30 digits, summed over a batch, stays far below 96.
EXACT = Context(
    prec=96, Emax=999, Emin=-999, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow, Underflow]
)
EXACT.traps[Clamped] = False

_MAX_WHOLE_DIGITS = 30
MAX_FRACTION_DIGITS = 30
"""The most digits after the point that a price or a client's cost may have."""


def plain(amount: Decimal) -> str:
    """Write an amount without exponent and without trailing zeros: `0.0000000375`, `12`, `0`."""
    text = str(amount)
    if "E" in text:  # seldom; format is slower than str
        text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def parse_number(text: str) -> Decimal:
    """Read the text of a JSON number exactly.

    Raises:
        ValueError: it is not a finite JSON number, or has more than `MAX_FRACTION_DIGITS` digits after
            the point, or is 10^30 or larger in magnitude.
    """
    # JSON's grammar is narrower than Decimal's, which also takes "NaN", "1_0" and surrounding blanks.
    if not text or text[0] not in "-0123456789" or len(text) > 128 or "_" in text or text[-1].isspace():
        raise ValueError("must be a number")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not value:
        return ZERO
    if not value.is_finite() or value.adjusted() >= _MAX_WHOLE_DIGITS:
        raise ValueError("is too large")
    _, digits, exponent = value.as_tuple()
    trailing_zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    if not isinstance(exponent, int) or exponent + trailing_zeros < -MAX_FRACTION_DIGITS:
        raise ValueError(f"must have at most {MAX_FRACTION_DIGITS} digits after the point")
    return value
