"""Where a request comes from."""

from typing import Any, Final

from litestar import Request

from shared.web.asgi import find_header

_FORWARDED_FOR: Final = b"x-forwarded-for"


def client_of(request: Request[Any, Any, Any]) -> str | None:
    """The client's address, as the gateway found it: of what clients write there nothing comes this far."""
    found = find_header(request.scope["headers"], _FORWARDED_FOR)
    return None if found is None else found.decode("latin-1")
