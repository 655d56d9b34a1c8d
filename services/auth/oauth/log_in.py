"""Log in by way of a provider: the two requests that a browser makes here, before and after it was there."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from services.auth.announce import KeyChanges, note_change
from services.auth.audit import Actor
from services.auth.oauth.join import Joined, RacedError, join_account
from services.auth.oauth.provider import Identity, Provider, safe_word
from services.auth.pending_keys import PendingKeys
from services.auth.sessions import NewSession, Sessions
from services.auth.store.login_flows import LoginFlow, delete_flows_that_are_over, insert_flow, take_flow
from shared.clock import Clock
from shared.errors import (
    InvalidFieldError,
    LLMRingError,
    MalformedRequestError,
    NotFoundError,
    UnavailableError,
)
from shared.postgres import Database

FLOW_LASTS: Final = timedelta(minutes=10)
"""How long somebody may take at the provider."""

PATIENCE: Final = timedelta(seconds=8)
"""How long all questions to the provider may take together; the gateway waits for 12 s."""

MAX_RETURN_CHARS: Final = 1024
_MAX_CODE_CHARS: Final = 4096
_TRIES: Final = 3

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_OWN_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""One slash and then neither a second one nor a backslash, which browsers take for one; no blanks."""

_UNKNOWN: Final = (
    "This login was not begun in this browser, is finished, or took over 10 minutes. Begin again."
)


class DeclinedError(MalformedRequestError):
    """Whoever was asked at the provider said no."""


class Begun(NamedTuple):
    """A login on its way: where the browser goes, and what it keeps meanwhile."""

    url: str
    state: str
    browser_secret: str


class CallbackAnswer(NamedTuple):
    """What a browser brings back from a provider (RFC 6749, 4.1.2; RFC 9207)."""

    state: str | None
    code: str | None
    error: str | None
    issuer: str | None


class Finished(NamedTuple):
    """Where the browser goes next, and its session; None where the page it goes to is told why not."""

    return_to: str | None
    session: NewSession | None


class OAuthLogin:
    """Logs in by way of providers.

    Args:
        database: ours.
        changes: tells gateways of keys and sessions.
        sessions: opens them.
        pending: keeps first keys.
        providers: by name.
        clock: tells when.
    """

    def __init__(
        self,
        *,
        database: Database,
        changes: KeyChanges,
        sessions: Sessions,
        pending: PendingKeys,
        providers: Mapping[str, Provider],
        clock: Clock,
    ) -> None:
        self._database = database
        self._changes = changes
        self._sessions = sessions
        self._pending = pending
        self._providers = providers
        self._clock = clock

    @property
    def providers(self) -> list[str]:
        """The names of those that are set up."""
        return list(self._providers)

    async def begin(self, provider: str, return_to: str | None) -> Begun:
        """Begin a login.

        Raises:
            NotFoundError: there is no such provider here.
            InvalidFieldError: `return_to` is not a path of our own site.
            UnavailableError: the provider or the database is away.
        """
        known = self._find(provider)
        if return_to is not None and (
            len(return_to) > MAX_RETURN_CHARS or not _OWN_PATH.fullmatch(return_to)
        ):
            raise InvalidFieldError.of("return_to", "must be a path of this site, such as /docs.")
        state, browser_secret, verifier, nonce = (secrets.token_urlsafe(32) for _ in range(4))
        async with _patience(provider):
            url = await known.authorization_url(state=state, verifier=verifier, nonce=nonce)
        now = self._clock.now()
        flow = LoginFlow(provider, verifier, nonce, return_to, now + FLOW_LASTS)
        async with self._database.connection() as connection:
            await delete_flows_that_are_over(connection, now)
            await insert_flow(
                connection, flow, state_sha256=_digest(state), browser_sha256=_digest(browser_secret)
            )
        return Begun(url, state, browser_secret)

    async def finish(
        self, provider: str, answer: CallbackAnswer, browser_secret: str | None, client: str | None
    ) -> Finished:
        """Finish a login. A page that it was begun for is told by `login_error` what went wrong.

        Args:
            provider: whom the answer is said to be from.
            answer: what the browser brought.
            browser_secret: what it kept of `begin` for this state.
            client: the address that it comes from.

        Raises:
            NotFoundError: there is no such provider here.
            MalformedRequestError: it is none of our logins, or not this browser's, or it cannot be trusted,
                or whoever was asked said no.
            EmailNotVerifiedError: as `join_account` says.
            ForbiddenError: likewise.
            UnavailableError: the provider or the database is away.
        """
        known = self._find(provider)
        flow = await self._take(provider, answer.state, browser_secret)
        try:
            who = await self._identify(known, provider, flow, answer)
            return Finished(flow.return_to, await self._log_in(who, client))
        except LLMRingError as error:
            if flow.return_to is None:
                raise
            reason = "access-denied" if isinstance(error, DeclinedError) else error.kind.value
            return Finished(_with_error(flow.return_to, reason), None)

    def _find(self, provider: str) -> Provider:
        known = self._providers.get(provider)
        if known is None:
            raise NotFoundError("There is no such provider to log in with here.")
        return known

    async def _take(self, provider: str, state: str | None, browser_secret: str | None) -> LoginFlow:
        flow = None
        if state and browser_secret and _TOKEN.fullmatch(state) and _TOKEN.fullmatch(browser_secret):
            async with self._database.connection() as connection:
                flow = await take_flow(
                    connection, state_sha256=_digest(state), browser_sha256=_digest(browser_secret)
                )
        if flow is None or flow.provider != provider or flow.expires_at <= self._clock.now():
            raise MalformedRequestError(_UNKNOWN)
        return flow

    async def _identify(
        self, known: Provider, provider: str, flow: LoginFlow, answer: CallbackAnswer
    ) -> Identity:
        if answer.error == "access_denied":
            raise DeclinedError(f"The login at {provider} was declined. Begin again to log in.")
        if answer.error is not None:
            raise MalformedRequestError(f"The login at {provider} failed: {safe_word(answer.error)}.")
        if not answer.code or len(answer.code) > _MAX_CODE_CHARS:
            raise MalformedRequestError(f"The answer of {provider} has no code.")
        async with _patience(provider):
            return await known.identify(
                code=answer.code, issuer=answer.issuer, verifier=flow.verifier, nonce=flow.nonce
            )

    async def _log_in(self, who: Identity, client: str | None) -> NewSession:
        for _ in range(_TRIES):
            try:
                joined, session = await self._store(who, client)
            except RacedError:
                continue
            await self._changes.publish(*joined.events)
            return session
        raise UnavailableError("Several logins of the same person are under way.")

    async def _store(self, who: Identity, client: str | None) -> tuple[Joined, NewSession]:
        async with self._database.transaction() as connection:
            joined = await join_account(connection, who, client, self._clock)
            now = self._clock.now()
            account_id = joined.account.account_id
            session = await self._sessions.open(
                connection, Actor("account", account_id, client=client), account_id
            )
            if joined.first_key is not None:
                await self._pending.keep(connection, account_id, joined.first_key, session)
            joined.events.append(await note_change(connection, account_id, now, [session.session_id]))
        return joined, session


@asynccontextmanager
async def _patience(provider: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            yield
    except TimeoutError as error:
        raise UnavailableError(f"{provider} takes too long to answer.") from error


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _with_error(return_to: str, reason: str) -> str:
    scheme, host, path, query, fragment = urlsplit(return_to)
    added = urlencode({"login_error": reason})
    return urlunsplit((scheme, host, path, f"{query}&{added}" if query else added, fragment))
