"""Admit a request: find out whose key or session it is, and hold it against its limit or the address's."""

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from litestar.types import HTTPScope

from services.gateway.guards import NO_KEY, is_key_text, read_key
from services.gateway.keyring import BAD_KEY, Keyring, KnownKey
from services.gateway.limits import AddressLimits, limit_headers
from services.gateway.requests import API_KEY, AUTHORIZATION, COOKIE
from services.gateway.responses import Reply
from services.gateway.routes import Access
from services.gateway.sessions import BAD_SESSION, SessionCookies
from shared.contracts.keys import CredentialKind
from shared.contracts.sessions import OPENER_HEADER, opener_of
from shared.errors import RateLimitedError, UnauthenticatedError
from shared.limits.port import Decision, RateLimiter

_BAD_KEYS: Final = "Too many bad API keys from this address."


class Admission:
    """The guard at the door.

    Args:
        keys: the keys that are known.
        cookies: reads sessions.
        key_limiter: counts requests by key; only good keys ever reach it.
        addresses: the limits of client addresses.
    """

    def __init__(
        self, keys: Keyring, cookies: SessionCookies, key_limiter: RateLimiter, addresses: AddressLimits
    ) -> None:
        self._keys = keys
        self._cookies = cookies
        self._key_limiter = key_limiter
        self._addresses = addresses
        self._asking: dict[str, set[asyncio.Task[KnownKey]]] = {}

    async def admit(
        self, access: Access, found: list[bytes | None], client: str, now: float, reply: Reply
    ) -> KnownKey | None:
        """Let a request pass, or raise. The headers that tell the limit go into the reply either way.

        Returns:
            The key it came with, or None when it came without and may.

        Raises:
            UnauthenticatedError: no key where one is required, or a bad one.
            RateLimitedError: the key's or the address's limit is reached.
            UnavailableError: a key could not be checked, since auth is away.
        """
        key = None
        if access is not Access.IGNORED:
            try:
                key = read_key(found)
            except UnauthenticatedError:
                await self._count_bad_key(client, now, reply)
                raise
        if key is None:
            await self._admit_without_key(access, client, now, reply)
            return None
        reply.no_store = True
        digest = sha256(key).digest()
        known = self._keys.find(digest, now)
        if known is None or known.kind != "key":  # what is remembered may be a session, which is no key
            if not is_key_text(key):
                await self._count_bad_key(client, now, reply)
                raise UnauthenticatedError(BAD_KEY)
            known = await self._verify("key", digest, client, now, reply)
        limit = known.limit
        if limit is not None:
            _tell(await self._key_limiter.hit(known.bucket, limit, now), now, reply)
        return known

    async def admit_browser(
        self,
        access: Access,
        scope: HTTPScope,
        found: list[bytes | None],
        *,
        client: str,
        now: float,
        reply: Reply,
        with_opener: bool = False,
    ) -> KnownKey | None:
        """Let a request with cookies pass, or raise: by its session where a key is required and none is sent.

        Of its cookies the session's goes no further; where the service has to open what was sealed for the
        session, it is told what comes of the token.

        Raises:
            UnauthenticatedError: as above, or the session is bad, or has ended.
            ForbiddenError: it changes something by its session, and does not come from our own pages.
            RateLimitedError: the limit of the key, the session or the address is reached.
            UnavailableError: a key or a session could not be checked, since auth is away.
        """
        headers: Any = scope["headers"]  # our own list
        cookies = found[COOKIE] or b""
        others = self._cookies.without(cookies)
        if others:
            headers.append((b"cookie", others))
        if access is not Access.REQUIRED or found[API_KEY] is not None or found[AUTHORIZATION] is not None:
            return await self.admit(access, found, client, now, reply)
        try:
            token = self._cookies.read(cookies)
        except UnauthenticatedError:
            await self._count_bad_key(client, now, reply)
            raise
        if token is None:
            return await self.admit(access, found, client, now, reply)
        reply.no_store = True
        self._cookies.require_own_page(scope["method"], headers)
        digest = sha256(token).digest()
        known = self._keys.find(digest, now)
        if known is None:
            known = await self._verify("session", digest, client, now, reply)
        if with_opener:
            headers.append((OPENER_HEADER, opener_of(token).hex().encode()))
        if known.limit is not None:
            _tell(await self._key_limiter.hit(known.bucket, known.limit, now), now, reply)
        return known

    async def _admit_without_key(self, access: Access, client: str, now: float, reply: Reply) -> None:
        # What registering answers, a new key, is nobody else's either.
        reply.no_store = access is not Access.OPTIONAL
        _tell(await self._addresses.count_anonymous(client, now), now, reply)
        if access is Access.REQUIRED:
            raise UnauthenticatedError(NO_KEY)

    async def _verify(
        self, kind: CredentialKind, digest: bytes, client: str, now: float, reply: Reply
    ) -> KnownKey:
        """Ask auth, unless the address has shown too many bad keys already; one question at a time per key.

        The key is counted as a bad one before it is looked up, so that not one lookup more than the limit is
        made whatever arrives at once, and uncounted when it turns out to be good.
        """
        if self._keys.is_refused(digest, now):
            await self._count_bad_key(client, now, reply)
            raise UnauthenticatedError(BAD_KEY if kind == "key" else BAD_SESSION)
        counted: Decision | None = None
        lookup = self._keys.find_lookup(digest)
        if lookup is None:
            if not self._keys.was_good(digest):
                counted = await self._reserve(client, now, reply)
            lookup = self._keys.find_lookup(digest) or self._keys.start_lookup(digest, now, kind)
        refused = False
        asking = self._asking.setdefault(client, set())
        asking.add(lookup)
        try:
            return await asyncio.shield(lookup)
        except UnauthenticatedError:
            refused = True
            if counted is None:
                await self._count_bad_key(client, now, reply)
            else:
                _tell(counted, now, reply)
            raise
        finally:
            if counted is not None and not refused:
                await self._addresses.uncount_bad_key(client, now)
            asking.discard(lookup)
            if not asking and self._asking.get(client) is asking:
                del self._asking[client]

    async def _reserve(self, client: str, now: float, reply: Reply) -> Decision:
        while True:
            decision = await self._addresses.count_bad_key(client, now)
            if decision.allowed:
                return decision
            asking = tuple(self._asking.get(client, ()))
            if not asking:
                _tell(decision, now, reply, _BAD_KEYS)
            # Many good keys behind one address, all new to this process, must not shut one another out:
            # those under way may yet turn out to be good and give their place back.
            await asyncio.wait(asking)

    async def _count_bad_key(self, client: str, now: float, reply: Reply) -> None:
        _tell(await self._addresses.count_bad_key(client, now), now, reply, _BAD_KEYS)


def _tell(decision: Decision, now: float, reply: Reply, reason: str = "Too many requests.") -> None:
    """Put the limit's headers into the reply.

    Raises:
        RateLimitedError: the decision was no.
    """
    reply.added += limit_headers(decision, now)
    if decision.retry_after_s is not None:
        raise RateLimitedError(
            f"{reason} At most {decision.limit} pass in any minute: try again in {decision.retry_after_s} s.",
            retry_after=timedelta(seconds=decision.retry_after_s),
        )
