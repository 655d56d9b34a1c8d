"""Two providers of logins on a port of this machine, which do what a test tells them.

One speaks OpenID Connect at the root, the other one GitHub's dialect below `/github`. Both hold the code, the
address to come back to, our secret and PKCE's verifier against what the login began with.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from aiohttp import web
from joserfc import jws
from joserfc.jwk import RSAKey

from services.auth.settings import OAuthClient
from shared.clock import Clock

CLIENT_ID = "llmring-test"
CLIENT_SECRET = "a secret: 100%+"  # what a form and a Basic header have to encode


@dataclass
class Grant:
    query: dict[str, str]
    person: dict[str, Any]


@dataclass
class Providers:
    url: str
    clock: Clock
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"}))
    grants: dict[str, Grant] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    token_calls: int = 0
    asked: list[str] = field(default_factory=list)
    answers: dict[str, Callable[[], Any]] = field(default_factory=dict)
    """What to answer instead on a path; called anew each time."""
    claims: dict[str, Any] = field(default_factory=dict)
    """To lay over what the ID token says; None leaves a claim out."""
    sign: Callable[[dict[str, Any]], str] | None = None
    email_in_userinfo: bool = False
    person: dict[str, Any] = field(default_factory=dict)
    """Whoever is at GitHub's page in a browser."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def google(self) -> OAuthClient:
        return OAuthClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, url=self.url)

    @property
    def github(self) -> OAuthClient:
        return OAuthClient(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, url=f"{self.url}/github")

    def agree(self, location: str, person: dict[str, Any]) -> dict[str, str]:
        """Somebody logs in where we sent the browser to; tells the query that it comes back with."""
        query = {name: value for name, [value] in parse_qs(urlsplit(location).query).items()}
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.grants[code] = Grant(query, person)
        return {"code": code, "state": query["state"]}

    def token_of(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "kid": self.key.kid}
        return jws.serialize_compact(header, json.dumps(claims).encode(), self.key)

    async def describe(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "userinfo_endpoint": f"{self.url}/userinfo",
            }
        )

    async def show_keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    async def give_token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        grant = self._redeem(request, form)
        if grant is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(self.clock.now().timestamp())
        said = grant.person if not self.email_in_userinfo else {"sub": grant.person["sub"]}
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 3600,
            "nonce": grant.query["nonce"],
            **said,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        token = secrets.token_urlsafe(16)
        self.tokens[token] = grant.person
        id_token = (self.sign or self.token_of)(claims)
        return web.json_response(
            {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "id_token": id_token}
        )

    async def show_userinfo(self, request: web.Request) -> web.Response:
        return web.json_response(self._bearer(request))

    async def ask_on_github(self, request: web.Request) -> web.Response:
        back = request.query["redirect_uri"] + "?" + urlencode(self.agree(str(request.url), self.person))
        page = f'<h1>Authorize {CLIENT_ID}</h1><a href="{escape(back)}">Authorize</a>'
        return web.Response(text=page, content_type="text/html")

    async def give_github_token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        grant = self._redeem(request, form)
        if grant is None:  # with 200, as GitHub has it
            return web.json_response({"error": "bad_verification_code"})
        token = secrets.token_urlsafe(16)
        self.tokens[token] = grant.person
        return web.json_response({"access_token": token, "scope": "user:email", "token_type": "bearer"})

    async def show_user(self, request: web.Request) -> web.Response:
        person = self._bearer(request)
        return web.json_response({name: value for name, value in person.items() if name != "emails"})

    async def show_emails(self, request: web.Request) -> web.Response:
        return web.json_response(self._bearer(request)["emails"])

    def _redeem(self, request: web.Request, form: dict[str, str]) -> Grant | None:
        self.token_calls += 1
        assert self._is_our_client(request, form)
        grant = self.grants.pop(form["code"], None)
        if grant is None:
            return None
        assert form["grant_type"] == "authorization_code"
        assert form["redirect_uri"] == grant.query["redirect_uri"]
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return grant if challenge == grant.query["code_challenge"] else None

    def _is_our_client(self, request: web.Request, form: dict[str, str]) -> bool:
        if "client_secret" in form:
            return (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
        scheme, _, encoded = request.headers["authorization"].partition(" ")
        name, _, secret = base64.b64decode(encoded).decode().partition(":")
        return scheme == "Basic" and (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)

    def _bearer(self, request: web.Request) -> dict[str, Any]:
        return self.tokens[request.headers["authorization"].removeprefix("Bearer ")]

    @web.middleware
    async def interfere(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        instead = self.answers.get(request.path)
        if instead is None:
            answer: web.StreamResponse = await handler(request)
            return answer
        answer = instead()
        if asyncio.iscoroutine(answer):
            await answer
            raise web.HTTPServiceUnavailable
        return answer


@contextlib.asynccontextmanager
async def open_providers(clock: Clock) -> AsyncIterator[Providers]:
    providers = Providers("", clock)
    app = web.Application(middlewares=[providers.interfere])
    app.add_routes(
        [
            web.get("/.well-known/openid-configuration", providers.describe),
            web.get("/jwks", providers.show_keys),
            web.post("/token", providers.give_token),
            web.get("/userinfo", providers.show_userinfo),
            web.get("/github/login/oauth/authorize", providers.ask_on_github),
            web.post("/github/login/oauth/access_token", providers.give_github_token),
            web.get("/github/api/v3/user", providers.show_user),
            web.get("/github/api/v3/user/emails", providers.show_emails),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    providers.url = f"http://127.0.0.1:{port}"
    try:
        yield providers
    finally:
        providers.closing.set()
        await runner.cleanup()
