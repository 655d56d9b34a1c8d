"""What a request must be before anything is done for it: a well-formed key, a body of a known type."""

from typing import Final

from services.gateway.requests import (
    API_KEY,
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    has_body,
    is_json,
)
from shared.errors import UnauthenticatedError, UnsupportedMediaTypeError

NO_KEY: Final = "An API key is required: send it as X-API-Key, or as Authorization: Bearer."

_PREFIX: Final = b"llmr_pk_"
_MAX_KEY_CHARS: Final = 255
_KEY_CHARS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_AS_IT_IS: Final = frozenset((b"", b"identity"))
_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))


def read_key(found: list[bytes | None]) -> bytes | None:
    """What a request sends as its API key, by either header; None when it sends none.

    Raises:
        UnauthenticatedError: the two headers contradict one another, or it is too long for a key.
    """
    key = found[API_KEY]
    authorization = found[AUTHORIZATION]
    if authorization is None:
        if key is None:
            return None
    elif key is None or authorization != b"Bearer " + key:
        if authorization[:7].lower() != b"bearer ":
            raise UnauthenticatedError("The Authorization header must be: Bearer, a space, and an API key.")
        bearer = authorization[7:]
        if key is not None and key != bearer:
            raise UnauthenticatedError("X-API-Key and Authorization hold two different keys.")
        key = bearer
    if len(key) > _MAX_KEY_CHARS:
        raise UnauthenticatedError("This is too long for an API key.")
    return key


def is_key_text(key: bytes) -> bool:
    """Whether it can be a key at all. One that is known has passed here once."""
    return key[:8] == _PREFIX and len(key) > len(_PREFIX) and not key.translate(None, _KEY_CHARS)


def require_json(method: str, found: list[bytes | None], *, is_expected: bool) -> None:
    """Let a body pass only if it is sent as it is, and claims to be JSON where that is expected, or nothing.

    Raises:
        UnsupportedMediaTypeError: it is compressed, which nobody behind would see; or it claims to be
            something else, as with curl's default form type.
    """
    encoding = found[CONTENT_ENCODING]
    if encoding is not None and encoding.strip().lower() not in _AS_IT_IS and has_body(found):
        raise UnsupportedMediaTypeError(
            f"The body must be sent as it is, without Content-Encoding: {encoding.decode('latin-1')[:64]}."
        )
    content_type = found[CONTENT_TYPE]
    if not is_expected or content_type is None or method not in _WITH_BODY:
        return
    if is_json(content_type) or not has_body(found):
        return
    raise UnsupportedMediaTypeError("The body must be JSON: send Content-Type: application/json.")
