"""What a request must be before anything is done for it: a well-formed key, a body of a known type."""

from typing import Final

from services.gateway.requests import API_KEY, AUTHORIZATION, CONTENT_TYPE, has_body, is_json
from shared.errors import UnauthenticatedError, UnsupportedMediaTypeError

NO_KEY: Final = "An API key is required: send it as X-API-Key, or as Authorization: Bearer."

_PREFIX: Final = b"llmr_pk_"
_MAX_KEY_CHARS: Final = 255
_KEY_CHARS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))


def read_key(found: list[bytes | None]) -> bytes | None:
    """The API key of a request, by either header; None when there is none. No key is looked up here.

    Raises:
        UnauthenticatedError: two headers contradict one another, or it is not the text of a key.
    """
    key = found[API_KEY]
    authorization = found[AUTHORIZATION]
    if authorization is not None:
        if authorization[:7] != b"Bearer " and authorization[:7].lower() != b"bearer ":
            raise UnauthenticatedError("The Authorization header must be: Bearer, a space, and an API key.")
        bearer = authorization[7:]
        if key is not None and key != bearer:
            raise UnauthenticatedError("X-API-Key and Authorization hold two different keys.")
        key = bearer
    elif key is None:
        return None
    if key[:8] != _PREFIX or not len(_PREFIX) < len(key) <= _MAX_KEY_CHARS or key.translate(None, _KEY_CHARS):
        raise UnauthenticatedError("This is not an API key: one starts with llmr_pk_ and is sent once.")
    return key


def require_json(method: str, found: list[bytes | None]) -> None:
    """Let a body pass only if it claims to be JSON, or claims nothing.

    Raises:
        UnsupportedMediaTypeError: it claims to be something else, as with curl's default form type.
    """
    content_type = found[CONTENT_TYPE]
    if content_type is None or method not in _WITH_BODY or is_json(content_type) or not has_body(found):
        return
    raise UnsupportedMediaTypeError("The body must be JSON: send Content-Type: application/json.")
