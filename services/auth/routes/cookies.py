"""The cookies of a session and of a login on its way, as they are set and taken back (RFC 6265bis).

Scripts do not see it, other sites' pages do not send it along with what they post, and over HTTPS it never
leaves this host.
"""

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256

from litestar.datastructures import Cookie

from services.auth.oauth.log_in import FLOW_LASTS
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


class LoginCookies:
    """The cookies of logins that are at a provider: one for each, so that two tabs do not meet."""

    def __init__(self, settings: AuthSettings) -> None:
        self._secure = is_https(settings.public_url)
        self._stem = "__Host-llmring_login_" if self._secure else "llmring_login_"

    def to_set(self, state: str, secret: str) -> Cookie:
        """Keep the secret of one login."""
        return self._cookie(state, secret, int(FLOW_LASTS.total_seconds()))

    def to_clear(self, state: str) -> Cookie:
        """Forget it."""
        return self._cookie(state, "", 0)

    def read(self, cookies: Mapping[str, str], state: str) -> str | None:
        """The secret of one login, if the browser has it."""
        return cookies.get(self._name(state))

    def _cookie(self, state: str, value: str, seconds: int) -> Cookie:
        return Cookie(
            key=self._name(state),
            value=value,
            max_age=seconds,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def _name(self, state: str) -> str:
        return self._stem + sha256(state.encode()).hexdigest()[:16]
