"""The OAuth 2.0 steps that all providers have in common (RFC 6749, 4.1; PKCE: RFC 7636), made by Authlib."""

import logging
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote_plus

import httpx2
import msgspec
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from services.auth.oauth.provider import safe_word, untrusted
from services.auth.settings import OAuthClient
from shared.errors import UnavailableError
from shared.web.outbound import Outbound
from shared.web.outbound_transport import OutboundTransport

ClientAuth = Literal["client_secret_basic", "client_secret_post"]

_CODE_IS_WRONG: Final = ("invalid_grant", "bad_verification_code")
"""By RFC 6749, 5.2, and by GitHub."""

NONSENSE: Final = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What the libraries raise of answers that nobody gave in earnest: they believe whatever types they read."""

_log = logging.getLogger(__name__)


class CodeExchange:
    """Sends browsers to one provider, and exchanges the codes that they bring back.

    Args:
        provider: its name here.
        client: what we are there.
        redirect_uri: where browsers come back to.
        scope: what we ask to be told.
        outbound: the way to the provider.
    """

    def __init__(
        self, provider: str, client: OAuthClient, *, redirect_uri: str, scope: str, outbound: Outbound
    ) -> None:
        self._provider = provider
        self._client = client
        self._redirect_uri = redirect_uri
        self._scope = scope
        self._transport = OutboundTransport(outbound)

    def authorization_url(self, endpoint: str, *, state: str, verifier: str, nonce: str | None = None) -> str:
        """The address that asks for a code.

        Raises:
            UnavailableError: what the provider calls its endpoint is no address.
        """
        try:
            url, _ = self._open("client_secret_post").create_authorization_url(
                endpoint, state=state, code_verifier=verifier, nonce=nonce
            )
        except NONSENSE as error:
            raise UnavailableError(f"{self._provider} tells no address to log in at.") from error
        return str(url)

    async def fetch_token(
        self, endpoint: str, *, code: str, verifier: str, auth: ClientAuth
    ) -> Mapping[str, Any]:
        """Exchange a code for the token endpoint's answer, in which there is an access token.

        Raises:
            MalformedRequestError: the provider does not know the code, or not with this verifier.
            UnavailableError: it is away, does not accept this deployment or does not speak OAuth.
        """
        try:
            token = await self._open(auth).fetch_token(
                endpoint, grant_type="authorization_code", code=code, code_verifier=verifier
            )
        except OAuthError as error:
            if error.error in _CODE_IS_WRONG:
                raise untrusted(self._provider, "it does not know the code") from None
            word = safe_word(error.error)
            _log.error("%s does not accept this deployment: %s", self._provider, word)
            raise UnavailableError(f"{self._provider} does not accept this deployment: {word}.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, *NONSENSE) as error:
            raise UnavailableError(f"{self._provider} gave no token: {type(error).__name__}.") from error
        if not isinstance(token.get("access_token"), str):
            raise UnavailableError(f"{self._provider} gave no token.")
        return dict(token)

    def _open(self, auth: ClientAuth) -> AsyncOAuth2Client:
        client_id, client_secret = self._client.client_id, self._client.client_secret
        if auth == "client_secret_basic":
            # RFC 6749, 2.3.1: each is encoded as in a form. Authlib joins them as they are.
            client_id, client_secret = quote_plus(client_id), quote_plus(client_secret)
        return AsyncOAuth2Client(
            client_id=client_id,
            client_secret=client_secret,
            token_endpoint_auth_method=auth,
            scope=self._scope,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            transport=self._transport,
            trust_env=False,
        )


async def ask_json(outbound: Outbound, url: str, *, headers: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - any JSON
    """What a GET is answered with 200.

    Raises:
        UnavailableError: there was no such answer, or it is not JSON.
    """
    answer = await outbound.ask("GET", url, headers={"Accept": "application/json", **(headers or {})})
    if answer.status != 200:
        raise UnavailableError(f"{url} answered {answer.status}.")
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnavailableError(f"{url} did not answer with JSON.") from error
