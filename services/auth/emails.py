"""Email addresses: what is accepted, and when two spellings are one account.

Two addresses are one account when they differ in the case of letters, in the Unicode composition of a letter,
or in the IDNA spelling of the domain. Nothing else joins them, and nothing else is let in that could: a
character that some step on the way (NFKC, lower-casing, IDNA) turns into another one is refused, so that a
look-alike address can never stand for somebody else's account.
"""

from typing import NamedTuple
from unicodedata import normalize

from email_validator import EmailNotValidError, validate_email

_MAX_CHARS = 254
"""RFC 3696, erratum 1690. The validator counts bytes afterwards."""


class Email(NamedTuple):
    """One address.

    Attributes:
        address: as mail is sent to it, in NFC.
        key: what it is compared by: lower case, the domain in its ASCII form.
    """

    address: str
    key: str


def parse_email(text: str) -> Email:
    """Check an address by its form alone; whether mail arrives there only a mail can tell.

    The reserved `.test` (RFC 6761) is accepted, for tests and rehearsals.

    Raises:
        ValueError: it is not an address, with a sentence that says why.
    """
    text = text.strip(" \t\r\n")
    if len(text) > _MAX_CHARS:
        raise ValueError(f"must have at most {_MAX_CHARS} characters.")
    composed = normalize("NFC", text)
    if normalize("NFKC", text) != composed or any(_stands_for_another(char) for char in text):
        raise ValueError("must not have characters that merely look like others.")
    try:
        valid = validate_email(composed, check_deliverability=False, strict=True, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    typed_domain = _fold(composed.rpartition("@")[2])
    if typed_domain not in (valid.domain, valid.ascii_domain):
        raise ValueError("must have its domain in plain lower-case letters.")
    return Email(valid.normalized, f"{_fold(valid.local_part)}@{valid.ascii_domain}")


def email_key(text: str) -> str:
    """What an address, or any other text, would be compared by; never fails."""
    try:
        return parse_email(text).key
    except ValueError:
        return _fold(text)


def _stands_for_another(char: str) -> bool:
    composed = normalize("NFC", char)
    return composed != char and len(composed) == 1  # U+212A is K, U+037E is a semicolon


def _fold(text: str) -> str:
    """Lower-case letter by letter, and only where that loses nothing.

    `str.lower` alone maps the Kelvin sign to `k`, and `I` with a dot to two characters.
    """
    return "".join(_fold_char(char) for char in text)


def _fold_char(char: str) -> str:
    lower = char.lower()
    return lower if lower.upper() == char and lower.isascii() == char.isascii() else char
