"""The keys this process has verified a moment ago, and the one question to auth when it has not.

How a revoked key dies within a second:

- While `keys.changed` is followed (see `watch`), an account's keys are doubted as its event arrives, so they
  may be believed for `FOLLOWED_S`.
- While it is not, or nobody knows whether it is, all are doubted, and believed for `UNFOLLOWED_S` only.
- A doubted key is asked for before it passes again. It is not forgotten: the bad keys of others behind the
  same address must not stand in its way.
- A lookup that was under way when anything was doubted may have read what is no longer true. Its answer goes
  to those who waited for it already; it is not remembered, and whoever comes later asks again.

Keys are known by their SHA-256 alone. A key's own end is honoured whatever is remembered.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec

from services.gateway.requests import Header
from shared.clock import Clock
from shared.contracts.keys import SCOPE_GATEWAY, KeyLookup, Principal, Verification
from shared.errors import LLMRingError, NotFoundError, UnauthenticatedError, UnavailableError
from shared.web.client import Upstream
from shared.web.principal import PRINCIPAL_HEADER, TOKEN_LIFETIME_S, PrincipalMint

FOLLOWED_S: Final = 30.0
UNFOLLOWED_S: Final = 1.0
REFUSED_S: Final = 5.0
"""How long a bad key is known to be bad; no longer than a good one is remembered."""

BAD_KEY: Final = "The API key is not valid (one starts with llmr_pk_), or was revoked, or has expired."

_LOOKUP_TIMEOUT_S: Final = 5.0
_RENEW_BEFORE_S: Final = 60
_MAX_REFUSED: Final = 10_000
_NOBODY: Final = UUID(int=0)

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Verification)


class KnownKey:
    """A verified key, with all that a request by it needs.

    Attributes:
        principal: who is calling.
        header: the principal token as the header that services read.
        limit: requests in any minute; None is no limit.
        bucket: what its requests are counted under.
        fresh_until: epoch second up to which all this may be used without asking again.
        renew_at: epoch second at which another token is due.
    """

    __slots__ = ("bucket", "fresh_until", "header", "limit", "principal", "renew_at")

    def __init__(self, principal: Principal, header: Header, fresh_until: float, renew_at: float) -> None:
        self.principal = principal
        self.header = header
        self.limit = principal.requests_per_minute
        self.bucket = principal.key_id.bytes
        self.fresh_until = fresh_until
        self.renew_at = renew_at


class Keyring:
    """Verified keys, bounded in number and in time.

    Args:
        auth: the service that knows all keys.
        mint: makes principal tokens.
        clock: tells how old things are.
        max_keys: the most keys remembered; the one verified longest ago makes room.
    """

    def __init__(self, auth: Upstream, mint: PrincipalMint, clock: Clock, max_keys: int = 10_000) -> None:
        self._auth = auth
        self._mint = mint
        self._clock = clock
        self._max_keys = max_keys
        self._known: dict[bytes, KnownKey] = {}
        self._by_account: dict[UUID, set[bytes]] = {}
        self._refused: dict[bytes, float] = {}
        self._lookups: dict[bytes, asyncio.Task[KnownKey]] = {}
        self._remembered_s = UNFOLLOWED_S
        self._own_header: Header = (PRINCIPAL_HEADER, b"")
        self._own_renew_at = 0.0
        self._auth_is_away = False

    def find(self, digest: bytes, now: float) -> KnownKey | None:
        """The key of this SHA-256, if it needs no question. The whole cost of a cached key."""
        known = self._known.get(digest)
        return known if known is not None and now < known.fresh_until else None

    def was_good(self, digest: bytes) -> bool:
        """Whether the key was good when auth was last asked. It must be asked again; it is no stranger."""
        return digest in self._known

    def is_refused(self, digest: bytes, now: float) -> bool:
        """Whether auth has refused this key a moment ago."""
        return now < self._refused.get(digest, 0.0)

    def find_lookup(self, digest: bytes) -> "asyncio.Task[KnownKey] | None":
        """The question about this key that is under way, if there is one."""
        return self._lookups.get(digest)

    def start_lookup(self, digest: bytes, now: float) -> "asyncio.Task[KnownKey]":
        """Ask auth about a key. The task outlives the request that started it; await it by `shield`.

        The task raises:
            UnauthenticatedError: there is no such key, or it is revoked, or over.
            UnavailableError: auth is away, or does not trust this gateway.
        """
        task = asyncio.create_task(self._look_up(digest, now), name="gateway.key-lookup")
        self._lookups[digest] = task
        task.add_done_callback(self._forget_lookup(digest))
        return task

    def follow(self) -> None:
        """From now on every change is heard of. What was missed until now is made up for by doubting all."""
        self.doubt_all()
        self._remembered_s = FOLLOWED_S

    def unfollow(self) -> None:
        """Changes may be missed from now on."""
        self._remembered_s = UNFOLLOWED_S
        self.doubt_all()

    def doubt_account(self, account_id: UUID) -> None:
        """Believe nothing of an account's keys any more, nor any answer that may be older than this."""
        for digest in self._by_account.get(account_id, ()):
            self._known[digest].fresh_until = 0.0
        self._refused.clear()
        self._lookups.clear()

    def doubt_all(self) -> None:
        """Believe nothing any more, nor any answer that may be older than this."""
        for known in self._known.values():
            known.fresh_until = 0.0
        self._refused.clear()
        self._lookups.clear()

    def _forget_lookup(self, digest: bytes) -> "Callable[[asyncio.Task[KnownKey]], None]":
        def forget(task: "asyncio.Task[KnownKey]") -> None:
            if self._lookups.get(digest) is task:
                del self._lookups[digest]
            if not task.cancelled():
                task.exception()  # whoever waited has been told; nobody may have waited

        return forget

    async def _look_up(self, digest: bytes, now: float) -> KnownKey:
        this = asyncio.current_task()
        found = await self._ask(digest)
        still_asked = self._lookups.get(digest) is this
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            if still_asked:
                self._remove(digest)
                self._refuse(digest, now)
            raise UnauthenticatedError(BAD_KEY)
        known = self._verified(self._known.get(digest), found, now)
        if still_asked:
            self._remember(digest, known)
        return known

    async def _ask(self, digest: bytes) -> Verification | None:
        body = _encoder.encode(KeyLookup(digest.hex()))
        headers = [(b"content-type", b"application/json"), self._own_principal()]
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT_S):
                answer = await self._auth.call("POST", "/internal/keys/verify", headers=headers, body=body)
            found = _decoder.decode(answer.body)
        except NotFoundError:
            found = None
        except (LLMRingError, msgspec.MsgspecError, TimeoutError) as error:
            # A 401 or 403 too: auth does not trust this gateway, which says nothing against the caller's key.
            if not self._auth_is_away:
                _log.warning("auth does not check keys: %s", str(error) or "no answer in time")
            self._auth_is_away = True
            raise UnavailableError("API keys cannot be checked at the moment.") from error
        self._auth_is_away = False
        return found

    def _own_principal(self) -> Header:
        now = self._clock.now().timestamp()
        if now >= self._own_renew_at:
            own = Principal(account_id=_NOBODY, key_id=_NOBODY, scopes=(SCOPE_GATEWAY,))
            self._own_header = (PRINCIPAL_HEADER, self._mint.mint(own))
            self._own_renew_at = now + TOKEN_LIFETIME_S - _RENEW_BEFORE_S
        return self._own_header

    def _verified(self, before: KnownKey | None, found: Verification, now: float) -> KnownKey:
        principal = Principal(
            account_id=found.account_id,
            key_id=found.key_id,
            scopes=found.scopes,
            requests_per_minute=found.requests_per_minute,
            logs_per_month=found.logs_per_month,
        )
        if before is not None and before.principal == principal and now < before.renew_at:
            header, renew_at = before.header, before.renew_at
        else:
            minted_at = self._clock.now().timestamp()
            header = (PRINCIPAL_HEADER, self._mint.mint(principal))
            renew_at = minted_at + TOKEN_LIFETIME_S - _RENEW_BEFORE_S
        # Counted from before the question was asked: what changed while it was under way is not older.
        fresh_until = min(now + self._remembered_s, renew_at)
        if found.expires_at is not None:
            fresh_until = min(fresh_until, found.expires_at)
        return KnownKey(principal, header, fresh_until, renew_at)

    def _remember(self, digest: bytes, known: KnownKey) -> None:
        self._remove(digest)
        if len(self._known) >= self._max_keys:
            self._remove(next(iter(self._known)))
        self._known[digest] = known
        self._by_account.setdefault(known.principal.account_id, set()).add(digest)

    def _remove(self, digest: bytes) -> None:
        known = self._known.pop(digest, None)
        if known is None:
            return
        account_id = known.principal.account_id
        digests = self._by_account[account_id]
        digests.discard(digest)
        if not digests:
            del self._by_account[account_id]

    def _refuse(self, digest: bytes, now: float) -> None:
        if len(self._refused) >= _MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[digest] = now + min(REFUSED_S, self._remembered_s)
