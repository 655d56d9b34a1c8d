import hashlib
import math
import struct
from decimal import Decimal

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from shared.proofs.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, CanonicalError, canonical_bytes
from shared.proofs.metadata import ecmascript_number, metadata_digest

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def nested(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=5),
        max_leaves=20,
    )


whole = st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | text


@given(st.dictionaries(text, nested(whole), max_size=6))
@example({"\ue000": 1, "😀": 2, "\uffff": 3, "a": {"\U0010ffff": 0, "\ufb33": "דּ"}})
@example({"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7})  # RFC 8785, section 3.2.3
@example({"".join(map(chr, range(0x100))): "".join(map(chr, range(0x100))) + "\u2028\u2029\ufeff/"})
def test_the_bytes_are_those_of_the_rfc8785_package(payload: dict[str, object]) -> None:
    assert canonical_bytes(payload) == rfc8785.dumps(payload)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        5.0,
        math.nan,
        math.inf,
        MAX_SAFE_INTEGER + 1,
        -MAX_SAFE_INTEGER - 1,
        2**64,
        "a\ud800",
        {"\udfff": 1},
        {"\udfff": 1, "😀": 2},
        {1: "a"},
        {None: 1},
        b"bytes",
        {1, 2},
        Decimal("0.5"),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "place", [lambda v: v, lambda v: [1, v], lambda v: {"a": {"b": [v]}}], ids=["bare", "list", "deep"]
)
def test_what_has_no_single_text_is_refused(value: object, place: object) -> None:
    with pytest.raises(CanonicalError):
        canonical_bytes(place(value))  # type: ignore[operator]


def test_nesting_ends_with_an_error_and_not_with_a_crash() -> None:
    value: object = "x"
    for _ in range(MAX_DEPTH):
        value = [value]
    assert canonical_bytes(value)
    with pytest.raises(CanonicalError, match="nested"):
        canonical_bytes({"a": value})


def test_a_true_is_not_written_as_a_one() -> None:
    assert canonical_bytes([True, 1, False, 0, None]) == b"[true,1,false,0,null]"


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(9007199254740992.0)
@example(5e-324)
@example(1e23)
def test_a_double_is_written_as_ecmascript_writes_it(number: float) -> None:
    assert ecmascript_number(number).encode() == rfc8785.dumps(number)


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (5.0, "5"),
        (-0.0, "0"),
        (1e20, "1" + "0" * 20),
        (1e21, "1e+21"),
    ],
)
def test_the_known_doubles_are_written_as_known(number: float, written: str) -> None:
    assert ecmascript_number(number) == written


@pytest.mark.parametrize(
    ("bits", "written"),
    [  # RFC 8785, appendix B
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_the_doubles_of_the_rfc_are_written_as_it_says(bits: str, written: str) -> None:
    assert ecmascript_number(struct.unpack(">d", bytes.fromhex(bits))[0]) == written


@given(st.dictionaries(text, nested(whole | st.floats(allow_nan=False, allow_infinity=False)), max_size=5))
def test_a_metadata_digest_is_the_sha256_of_its_rfc8785_bytes(metadata: dict[str, object]) -> None:
    assert metadata_digest(metadata) == hashlib.sha256(rfc8785.dumps(metadata)).hexdigest()  # type: ignore[arg-type]


def test_two_metadata_never_share_a_digest_by_rounding() -> None:
    assert metadata_digest({"n": 2**53 + 1}) != metadata_digest({"n": 2**53})
    assert metadata_digest({"n": 2**53}) == metadata_digest({"n": 2.0**53})
    assert metadata_digest({"a": 1.0, "b": 2}) == metadata_digest({"b": 2, "a": 1})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_has_no_digest(number: float) -> None:
    with pytest.raises(CanonicalError):
        metadata_digest({"n": [number]})
