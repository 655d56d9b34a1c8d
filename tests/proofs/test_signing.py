import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.proofs.signing import (
    SigningKey,
    decode_base64,
    encode_base64,
    key_id_of,
    new_seed,
    public_key_pem,
    verify,
)

KEY = SigningKey.from_seed(bytes([7]) * 32)


def test_a_signature_of_rfc_8032_comes_out_as_printed_there() -> None:
    key = SigningKey.from_seed(
        bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    )
    assert key.public_key.hex() == "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    assert key.sign(bytes.fromhex("af82")).hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )


@given(st.binary(max_size=200), st.integers(0, 511))
def test_one_flipped_bit_of_a_signature_is_refused(message: bytes, bit: int) -> None:
    signature = bytearray(KEY.sign(message))
    assert verify(KEY.public_key, message, bytes(signature))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify(KEY.public_key, message, bytes(signature))


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_a_signature_of_another_length_is_invalid_and_no_error(length: int) -> None:
    assert not verify(KEY.public_key, b"m", KEY.sign(b"m").ljust(length, b"\0")[:length])


@pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(32), b"\1" + bytes(31), bytes(33)], ids=len)
def test_a_key_that_signs_anything_is_refused(public_key: bytes) -> None:
    assert not verify(public_key, b"m", b"\1" + bytes(63))
    assert not verify(public_key, b"m", bytes(64))


def test_a_key_never_shows_its_seed() -> None:
    seed = new_seed()
    key = SigningKey.from_seed(seed)
    assert key.key_id == key_id_of(key.public_key)
    assert seed.hex() not in repr(key)
    assert key.key_id in repr(key)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)], ids=len)
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey.from_seed(seed)


@given(st.binary(max_size=100))
def test_base64_reads_what_it_wrote(data: bytes) -> None:
    assert decode_base64(encode_base64(data)) == data


@pytest.mark.parametrize(
    "spelling",
    ["YQ", "YQ=", "YR==", "YQ==\n", " YQ==", "Y Q==", "_-8=", "YQ==YQ==", "é", "YQ===", "=", "\u200bYQ=="],
)
def test_base64_has_one_spelling(spelling: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        decode_base64(spelling)


def test_openssl_reads_the_pem() -> None:
    try:
        printed = subprocess.run(
            ["openssl", "pkey", "-pubin", "-noout", "-text"],
            input=public_key_pem(KEY.public_key).encode(),
            capture_output=True,
            check=True,
        ).stdout.decode()
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert "ED25519" in printed.upper()
    assert KEY.public_key.hex() in printed.replace(":", "").replace("\n", "").replace(" ", "")
