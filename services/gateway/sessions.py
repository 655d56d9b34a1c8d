"""A browser's session as a credential: read from its cookie, and taken only from our own pages.

A browser sends a cookie along whoever's page asks it to. So what changes something is refused unless the
browser says that one of our own pages asked. `SameSite=Lax` says the same to browsers; this says it to those
that do not listen, and against pages of other hosts of the same site.
"""

from collections.abc import Iterable
from typing import Final

from services.gateway.requests import Header
from shared.contracts.sessions import SESSION_TOKEN, origin_of, session_cookie_name
from shared.errors import ForbiddenError, UnauthenticatedError
from shared.web.asgi import find_header

BAD_SESSION: Final = "The session is not valid, or has ended: log in again."

_SAFE: Final = ("GET", "HEAD")


class SessionCookies:
    """Reads cookies for one public address.

    Args:
        public_url: where people reach this deployment.
        trusted: origins whose pages may use sessions as our own may (`services.gateway.cors`).
    """

    def __init__(self, public_url: str, trusted: Iterable[str] = ()) -> None:
        self._name = session_cookie_name(public_url).encode()
        self._origin = origin_of(public_url)
        self._own = frozenset(origin.encode() for origin in (self._origin, *trusted)) - {b"*"}

    def read(self, cookies: bytes) -> bytes | None:
        """The token of a session; None where the request brings none.

        Raises:
            UnauthenticatedError: there are several different ones, or it cannot be a token.
        """
        found = {value for name, value in _split(cookies) if name == self._name}
        if not found:
            return None
        token = found.pop()
        if found or not SESSION_TOKEN.fullmatch(token):
            raise UnauthenticatedError(BAD_SESSION)
        return token

    def without(self, cookies: bytes) -> bytes:
        """The other cookies: no service is told a token."""
        return b"; ".join(b"%s=%s" % pair for pair in _split(cookies) if pair[0] != self._name)

    def require_own_page(self, method: str, headers: list[Header]) -> None:
        """Let a request that changes something pass only from our own pages, or from no browser at all.

        `Origin` decides where there is one (Fetch, section 3.1), then `Sec-Fetch-Site`. A request with
        neither comes from a program, unless it says itself that it is a browser's.

        Raises:
            ForbiddenError: another site's page asked for it, or a browser that does not say whose page did.
        """
        if method in _SAFE:
            return
        origins = {value for name, value in headers if name == b"origin"}
        sites = {value for name, value in headers if name == b"sec-fetch-site"}
        if origins - {b"null"}:
            is_own = len(origins) == 1 and origins <= self._own
        elif sites:
            is_own = sites == {b"same-origin"}
        else:
            is_own = not origins and not _is_browser(headers)
        if not is_own:
            raise ForbiddenError(f"With a session this is taken from the pages of {self._origin} alone.")


def _split(cookies: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (part.strip().partition(b"=") for part in cookies.split(b";"))
    return [(name.strip(), value.strip()) for name, _, value in pairs if name]


def _is_browser(headers: list[Header]) -> bool:
    agent = find_header(headers, b"user-agent") or b""
    return agent.startswith(b"Mozilla/") or find_header(headers, b"referer") is not None
