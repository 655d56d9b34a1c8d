"""A provider that speaks OpenID Connect: Google, or any other by its issuer.

Where its endpoints and keys are it says itself (OpenID Connect Discovery 1.0). An ID token counts only after
its signature, issuer, audience, times and nonce were checked (OpenID Connect Core 1.0, 3.1.3.7).
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from services.auth.oauth.exchange import NONSENSE, CodeExchange, ask_json
from services.auth.oauth.provider import Identity, untrusted
from services.auth.settings import OAuthClient
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.web.outbound import Outbound

SCOPE: Final = "openid email"

REMEMBERED: Final = timedelta(hours=1)
"""How long the provider's description and its keys are not asked for again."""

KEYS_AT_LEAST: Final = timedelta(minutes=1)
"""A token that names an unknown key makes us ask for the keys anew, but not more often than this."""

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Those of key pairs alone: with the others, whoever knows a public key could sign."""

LEEWAY: Final = timedelta(minutes=1)
"""By how much the provider's clock may differ from ours."""

_NONSENSE: Final = (JoseError, *NONSENSE)
"""Of texts that nobody signed in earnest."""

_SUBJECT: Final = re.compile(r"[ -~]{1,255}")  # OpenID Connect Core 1.0, section 2


class Description(msgspec.Struct, frozen=True):
    """What a provider says of itself, as far as it is needed here."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class OpenIdProvider:
    """One issuer.

    Args:
        name: its name here.
        client: what we are there; its `url` is the issuer.
        redirect_uri: where browsers come back to.
        outbound: the way there.
        clock: holds tokens against their times.
    """

    def __init__(
        self, name: str, client: OAuthClient, *, redirect_uri: str, outbound: Outbound, clock: Clock
    ) -> None:
        self._name = name
        self._client = client
        self._exchange = CodeExchange(name, client, redirect_uri=redirect_uri, scope=SCOPE, outbound=outbound)
        self._outbound = outbound
        self._clock = clock
        self._description: tuple[Description, datetime] | None = None
        self._keys: tuple[KeySet, datetime] | None = None

    async def authorization_url(self, *, state: str, verifier: str, nonce: str) -> str:
        """As `Provider` says."""
        described = await self._describe()
        return self._exchange.authorization_url(
            described.authorization_endpoint, state=state, verifier=verifier, nonce=nonce
        )

    async def identify(self, *, code: str, issuer: str | None, verifier: str, nonce: str) -> Identity:
        """As `Provider` says."""
        described = await self._describe()
        if issuer is None and described.authorization_response_iss_parameter_supported:
            raise untrusted(self._name, "its answer does not say who gave it")
        if issuer not in (None, described.issuer):
            raise untrusted(self._name, "somebody else gave the answer")
        basic = "client_secret_basic" in described.token_endpoint_auth_methods_supported
        token = await self._exchange.fetch_token(
            described.token_endpoint,
            code=code,
            verifier=verifier,
            auth="client_secret_basic" if basic else "client_secret_post",
        )
        claims = await self._check(described, token, nonce)
        subject = claims["sub"]
        told: Mapping[str, Any] = claims
        if "email" not in claims and described.userinfo_endpoint is not None:
            told = await self._ask_userinfo(described.userinfo_endpoint, token["access_token"], subject)
        email = told.get("email")
        # Nothing but the JSON word true: what is said in any other way is not said.
        is_checked = isinstance(email, str) and told.get("email_verified") is True
        return Identity(self._name, subject, email if is_checked else None)

    async def _check(self, described: Description, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        text = token.get("id_token")
        if not isinstance(text, str):
            raise untrusted(self._name, "there is no ID token")
        try:
            try:
                signed = jwt.decode(text, await self._load_keys(described), ALGORITHMS)
            except InvalidKeyIdError:  # the provider may have changed its keys
                signed = jwt.decode(text, await self._load_keys(described, KEYS_AT_LEAST), ALGORITHMS)
            claims = CodeIDToken(
                signed.claims,
                signed.header,
                options={
                    "iss": {"essential": True, "value": described.issuer},
                    "aud": {"essential": True, "value": self._client.client_id},
                    "sub": {"essential": True},
                    "exp": {"essential": True},
                    "nonce": {"essential": True},
                },
                params={
                    "nonce": nonce,
                    "client_id": self._client.client_id,
                    "access_token": token["access_token"],
                },
            )
            claims.validate(int(self._clock.now().timestamp()), int(LEEWAY.total_seconds()))
        except _NONSENSE as error:
            word = type(error).__name__
            raise untrusted(self._name, f"the ID token is not valid ({word})") from error
        subject = claims["sub"]
        if not (isinstance(subject, str) and _SUBJECT.fullmatch(subject)):
            raise untrusted(self._name, "the ID token names nobody")
        return dict(claims)

    async def _ask_userinfo(self, endpoint: str, access_token: str, subject: str) -> Mapping[str, Any]:
        told = await ask_json(self._outbound, endpoint, headers={"Authorization": f"Bearer {access_token}"})
        if not isinstance(told, dict) or told.get("sub") != subject:  # OpenID Connect Core 1.0, 5.3.4
            raise untrusted(self._name, "it tells of somebody else than the ID token")
        return told

    async def _describe(self) -> Description:
        now = self._clock.now()
        if self._description is not None and now - self._description[1] < REMEMBERED:
            return self._description[0]
        issuer = self._client.url
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            found = msgspec.convert(await ask_json(self._outbound, url), Description)
        except msgspec.ValidationError as error:
            raise UnavailableError(f"{url} does not describe an OpenID provider.") from error
        endpoints = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)
        scheme = "http" if issuer.startswith("http:") else "https"
        if found.issuer != issuer or not all(e.startswith((f"{scheme}:", "https:")) for e in endpoints):
            raise UnavailableError(f"{url} describes another provider.")
        self._description = (found, now)
        return found

    async def _load_keys(self, described: Description, at_least: timedelta = REMEMBERED) -> KeySet:
        now = self._clock.now()
        if self._keys is None or now - self._keys[1] >= at_least:
            found = await ask_json(self._outbound, described.jwks_uri)
            try:
                self._keys = (KeySet.import_key_set(found), now)
            except _NONSENSE as error:
                raise UnavailableError(f"{described.jwks_uri} gave no keys.") from error
        return self._keys[0]
