"""What auth sets and the gateway reads: the cookie of a session, and the one origin that may use it."""

import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

SESSION_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]{43}")
"""256 random bits in base64url: nothing else can be a session's token."""


OPENER_HEADER: Final = b"x-llmring-opener"
"""What comes of the session's token, in hex, where a service has to open what was sealed for the session."""


def opener_of(token: bytes) -> bytes:
    """32 bytes that come of a session's token: no service but the gateway is told the token itself.

    They come neither of the token's SHA-256, which is stored, nor does the token come of them.
    """
    return hashlib.blake2b(token, digest_size=32, person=b"llmring-opener").digest()


def session_cookie_name(public_url: str) -> str:
    """The cookie's name. Over HTTPS the prefix ties it to this host (RFC 6265bis, section 4.1.3.2)."""
    return "__Host-llmring_session" if is_https(public_url) else "llmring_session"


def is_https(public_url: str) -> bool:
    """Whether people reach the deployment over HTTPS."""
    return urlsplit(public_url).scheme == "https"


def origin_of(public_url: str) -> str:
    """What browsers send as `Origin` from our own pages (RFC 6454, section 6.1)."""
    parts = urlsplit(public_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if parts.port in (None, default) else f":{parts.port}")
