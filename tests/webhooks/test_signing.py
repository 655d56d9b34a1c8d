"""Signatures are those of Standard Webhooks, byte for byte."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from uuid import uuid4

from services.webhooks.signing import new_secret, show_secret, sign_message


def test_a_signature_is_what_the_specification_says() -> None:
    keys = [new_secret(), new_secret()]
    message, at, body = uuid4(), datetime(2031, 5, 3, 12, 0, 0, 999_999, tzinfo=UTC), '{"é":1}'.encode()
    headers = sign_message(message, at, body, keys)
    assert headers["webhook-id"] == str(message)
    assert headers["webhook-timestamp"] == str(int(at.timestamp()))
    signed = f"{message}.{int(at.timestamp())}.".encode() + body
    assert headers["webhook-signature"].split(" ") == [
        "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys
    ]


def test_a_secret_is_shown_as_the_specification_says() -> None:
    secret = new_secret()
    assert b64decode(show_secret(secret).removeprefix("whsec_"), validate=True) == secret
    assert 24 <= len(secret) <= 64
