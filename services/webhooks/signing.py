"""Secrets of endpoints, and signatures (Standard Webhooks 1.0, "Verifying webhook authenticity")."""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from standardwebhooks import Webhook

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
"""The specification asks for 24 to 64."""


def new_secret() -> bytes:
    """A secret as it signs."""
    return secrets.token_bytes(SECRET_BYTES)


def show_secret(secret: bytes) -> str:
    """A secret as its owner gets it."""
    return PREFIX + b64encode(secret).decode()


def sign_message(message_id: UUID, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The three headers of a message that is sent now, with one signature for each key.

    Args:
        message_id: the same at each attempt.
        at: of this attempt; a receiver refuses what is older than a few minutes.
        body: byte for byte as it is sent.
        keys: the secret, and while it is being changed the one before.
    """
    text = body.decode()
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(key).sign(str(message_id), at, text) for key in keys),
    }
