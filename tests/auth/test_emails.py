"""Which addresses are accepted, and which are one account."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.auth.emails import email_key, parse_email


@pytest.mark.parametrize(
    ("text", "address", "key"),
    [
        ("nora@example.test", "nora@example.test", "nora@example.test"),
        ("Nora.Q@Example.TEST", "Nora.Q@example.test", "nora.q@example.test"),
        (" nora@example.test\n", "nora@example.test", "nora@example.test"),
        ("nora+tag@example.test", "nora+tag@example.test", "nora+tag@example.test"),
        ("jose\u0301@example.test", "josé@example.test", "josé@example.test"),
        ("JOSÉ@example.test", "JOSÉ@example.test", "josé@example.test"),
        ("nora@exämple.test", "nora@exämple.test", "nora@xn--exmple-cua.test"),
        ("nora@EXÄMPLE.test", "nora@exämple.test", "nora@xn--exmple-cua.test"),
        ("nora@xn--exmple-cua.test", "nora@exämple.test", "nora@xn--exmple-cua.test"),
        ("用户@例子.广告", "用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"),
        ("\u0131rmak@example.test", "\u0131rmak@example.test", "\u0131rmak@example.test"),
        ("straße@example.test", "straße@example.test", "straße@example.test"),
        ("\u03a3\u03c2@example.test", "\u03a3\u03c2@example.test", "\u03c3\u03c2@example.test"),
    ],
)
def test_spellings_of_one_address_are_one_account(text: str, address: str, key: str) -> None:
    assert parse_email(text) == (address, key)
    assert email_key(text) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nora",
        "@example.test",
        "nora@",
        "nora@example",
        "nora@localhost",
        "operator@localhost",
        "nora@@example.test",
        "nora@example..test",
        "nora@example.test.",
        ".nora@example.test",
        "no ra@example.test",
        "nora@exam ple.test",
        "nora@[192.0.2.1]",
        '"no ra"@example.test',
        "Nora <nora@example.test>",
        "nora@example.test,pia@example.test",
        "nora@example.test\nBcc: pia@example.test",
        "no\x00ra@example.test",
        "no\x1bra@example.test",
        "nora\u200b@example.test",
        "nora\u202e@example.test",
        "nora\xad@example.test",
        "\ud800@example.test",
        "a" * 65 + "@example.test",
        "nora@" + "a" * 64 + ".test",
        "nora@" + "a." * 200 + "test",
        "x" * 60_000,
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_email(text)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "\u212aelvin@example.test",  # KELVIN SIGN, which str.lower() turns into k
        "\u212bsa@example.test",  # ANGSTROM SIGN
        "nora\uff20example.test",  # FULLWIDTH COMMERCIAL AT
        "\uff4eora@example.test",  # FULLWIDTH SMALL N
        "nora@\uff45xample.test",
        "nora@example\u3002test",  # IDEOGRAPHIC FULL STOP, a dot to IDNA
        "nora@example\uff0etest",
        "\ufb01ona@example.test",  # LIGATURE FI
        "no\u017fe@example.test",  # LONG S
        "\u210cans@example.test",  # BLACK-LETTER H
        "nora@\u24d4xample.test",
        "a\u037eb@example.test",  # GREEK QUESTION MARK, canonically a semicolon
    ],
)
def test_a_look_alike_never_stands_for_another_account(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        parse_email(text)
    assert email_key(text) not in {"kelvin@example.test", "nora@example.test", "fiona@example.test"}


def test_letters_that_only_some_languages_join_stay_apart() -> None:
    keys = {
        parse_email(f"{name}@example.test").key
        for name in ("irmak", "\u0131rmak", "strasse", "straße", "i\u0307rmak")
    }
    assert len(keys) == 5


@settings(deadline=None)
@given(st.one_of(st.text(max_size=80), st.emails(), st.builds("{}@{}".format, st.text(), st.text())))
@example("\u0130@example.test")
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    assert isinstance(email_key(text), str)
    try:
        parsed = parse_email(text)
    except ValueError:
        return
    again = parse_email(parsed.address)
    assert again == parsed
    assert parse_email(parsed.key).key == parsed.key
    assert "\0" not in parsed.address + parsed.key
