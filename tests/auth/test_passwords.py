"""Case P22 and its neighbours: which passwords are accepted, and that none is cut."""

import asyncio

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from services.auth import common_passwords
from services.auth.passwords import MIN_CHARS, PasswordHashes, parse_password
from services.auth.settings import AuthSettings
from shared.errors import UnavailableError

CHEAP = AuthSettings(password_hash_memory_kib=8, password_hash_passes=1, password_hash_lanes=1)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 9 + "b",
        "a" * 71 + "b",
        "a" * 72 + "b",
        "a" * 1023 + "b",
        "\U0001f600" * 25 + "!",
        "é" * 511 + "e",
        "         .",
        "pässwörter",
        "x\n" * 5,
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_any_ten_characters_to_1024_bytes_will_do(text: str) -> None:
    assert parse_password(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "at least 10 characters"),
        ("a" * 9, "at least 10 characters"),
        ("e\u0301" * 9, "at least 10 characters"),
        ("a" * 1025, "at most 1024 bytes"),
        ("é" * 513, "at most 1024 bytes"),
        ("\u0958" * 300, "at most 1024 bytes"),  # NFC makes two of each
        ("correct\0horse", "NUL"),
        ("password123", "most common"),
        ("PaSsWoRd123", "most common"),
        ("government", "most common"),
        ("a" * 10, "over and over"),
        ("a" * 1024, "over and over"),
        ("e\u0301" * 10, "over and over"),
        ("\U0001f600" * 25, "over and over"),
        (" " * 10, "blanks"),
        (" \t\n\u3000\xa0" * 3, "blanks"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_others_are_refused_without_repeating_them(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        parse_password(text)
    assert not text or text not in str(refused.value)


def test_the_list_of_common_ones_holds_none_that_is_too_short_anyway() -> None:
    assert len(common_passwords._COMMON) > 9_000
    assert all(len(word) >= MIN_CHARS and word == word.lower() for word in common_passwords._COMMON)


def test_both_compositions_of_a_letter_are_one_password() -> None:
    assert parse_password("cafe\u0301-terrace") == parse_password("café-terrace")


async def test_a_hash_is_argon2id_with_its_own_salt_and_sees_every_byte() -> None:
    hashes = PasswordHashes(CHEAP)
    long = "a" * 72
    first, second = await asyncio.gather(hashes.hash(long + "X"), hashes.hash(long + "X"))
    assert first.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert first != second
    assert PasswordHasher().verify(first, long + "X")
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(first, long + "Y")
    await hashes.close()


def test_the_defaults_are_those_of_rfc_9106() -> None:
    defaults = AuthSettings()
    assert (defaults.password_hash_memory_kib, defaults.password_hash_passes) == (65_536, 3)
    assert defaults.password_hash_lanes == 4


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    hashes = PasswordHashes(AuthSettings())
    turns = 0
    work = asyncio.gather(*(hashes.hash("correct horse battery") for _ in range(6)))
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    await work
    await hashes.close()
    assert turns > 100  # a loop that computed them itself would turn a dozen times


async def test_a_flood_is_told_to_come_back() -> None:
    hashes = PasswordHashes(
        AuthSettings(password_hash_lanes=1, password_hashes_at_once=1, password_hashes_waiting=3)
    )
    results = await asyncio.gather(*(hashes.hash("p" * 10) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(r, str) for r in results) == 4
    assert sum(isinstance(r, UnavailableError) for r in results) == 6
    assert isinstance(await hashes.hash("p" * 10), str)
    await hashes.close()
