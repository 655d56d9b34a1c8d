"""The cookie of a session, as it is set and taken back (RFC 6265bis).

Scripts do not see it, other sites' pages do not send it along with what they post, and over HTTPS it never
leaves this host.
"""

from datetime import timedelta

from services.auth.sessions import NewSession
from services.auth.settings import AuthSettings
from shared.contracts.sessions import is_https, session_cookie_name


class SessionCookie:
    """Writes `Set-Cookie` for one deployment."""

    def __init__(self, settings: AuthSettings) -> None:
        self._name = session_cookie_name(settings.public_url)
        self._flags = "; Path=/; HttpOnly; SameSite=Lax" + (
            "; Secure" if is_https(settings.public_url) else ""
        )
        self._seconds = int(timedelta(hours=settings.session_hours).total_seconds())

    def to_set(self, session: NewSession) -> dict[str, str]:
        """The header by which a browser keeps a session."""
        return {"set-cookie": f"{self._name}={session.token}; Max-Age={self._seconds}{self._flags}"}

    def to_clear(self) -> dict[str, str]:
        """The header by which it forgets one."""
        return {"set-cookie": f"{self._name}=; Max-Age=0{self._flags}"}
