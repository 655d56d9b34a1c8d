"""GitHub, or a GitHub Enterprise Server: it speaks OAuth 2.0, and tells by its own API who somebody is."""

import asyncio
from typing import Any, Final

from services.auth.oauth.exchange import CodeExchange, ask_json
from services.auth.oauth.provider import Identity
from services.auth.settings import OAuthClient
from shared.errors import UnavailableError
from shared.web.outbound import Outbound

SCOPE: Final = "user:email"

_PUBLIC: Final = "https://github.com"
_PUBLIC_API: Final = "https://api.github.com"


class GitHub:
    """GitHub, at one address.

    Args:
        name: its name here.
        client: what we are there; its `url` is where people log in.
        redirect_uri: where browsers come back to.
        outbound: the way there.
    """

    def __init__(self, name: str, client: OAuthClient, *, redirect_uri: str, outbound: Outbound) -> None:
        self._name = name
        self._url = client.url.rstrip("/")
        self._api = _PUBLIC_API if self._url == _PUBLIC else f"{self._url}/api/v3"
        self._exchange = CodeExchange(name, client, redirect_uri=redirect_uri, scope=SCOPE, outbound=outbound)
        self._outbound = outbound

    async def authorization_url(self, *, state: str, verifier: str, nonce: str) -> str:  # noqa: ARG002 - of OpenID Connect
        """As `Provider` says."""
        return self._exchange.authorization_url(
            f"{self._url}/login/oauth/authorize", state=state, verifier=verifier
        )

    async def identify(self, *, code: str, issuer: str | None, verifier: str, nonce: str) -> Identity:  # noqa: ARG002 - as above
        """As `Provider` says."""
        token = await self._exchange.fetch_token(
            f"{self._url}/login/oauth/access_token", code=code, verifier=verifier, auth="client_secret_post"
        )
        access_token: str = token["access_token"]
        user, emails = await asyncio.gather(
            self._ask("/user", access_token), self._ask("/user/emails?per_page=100", access_token)
        )
        subject = user.get("id") if isinstance(user, dict) else None
        if type(subject) is not int:  # the login can be changed and taken by another
            raise UnavailableError(f"{self._name} does not tell who it is.")
        return Identity(self._name, str(subject), _checked_address(emails))

    async def _ask(self, path: str, access_token: str) -> Any:  # noqa: ANN401 - any JSON
        return await ask_json(
            self._outbound,
            f"{self._api}{path}",
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {access_token}",
                "User-Agent": "llmring-api",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )


def _checked_address(emails: object) -> str | None:
    """The primary address, if GitHub has checked it; what stands in the public profile counts for nothing."""
    for entry in emails if isinstance(emails, list) else ():
        if isinstance(entry, dict) and entry.get("primary") is True and entry.get("verified") is True:
            email = entry.get("email")
            return email if isinstance(email, str) else None
    return None
