"""The keys and sessions this process has verified a moment ago, and the one question to auth when it has not.

How a revoked key dies within a second:

- While `keys.changed` is followed (see `watch`), an account's keys are doubted as its event arrives, so they
  may be believed for `FOLLOWED_S`.
- While it is not, or nobody knows whether it is, all are doubted, and believed for `UNFOLLOWED_S` only.
- A doubted key is asked for before it passes again. It is not forgotten: the bad keys of others behind the
  same address must not stand in its way.
- While auth is away, a key that is due only because time has passed goes on being believed, for
  `WITHOUT_AUTH_S` after it was last asked for, as long as changes are followed: nothing is revoked without an
  event. A key that was doubted is not.
- A lookup that was under way when anything was doubted may have read what is no longer true. Its answer goes
  to those who waited for it already; it is not remembered, and whoever comes later asks again.

Keys are known by their SHA-256 alone. A key's own end is honoured whatever is remembered. What is said here
of keys holds for sessions as well: their tokens are looked up, remembered and doubted in the same way.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec

from services.gateway.requests import Header
from services.gateway.sessions import BAD_SESSION
from shared.clock import Clock
from shared.contracts.keys import SCOPE_GATEWAY, CredentialKind, KeyLookup, Principal, Verification
from shared.errors import LLMRingError, NotFoundError, UnauthenticatedError, UnavailableError
from shared.web.client import Upstream
from shared.web.principal import PRINCIPAL_HEADER, TOKEN_LIFETIME_S, PrincipalMint

FOLLOWED_S: Final = 30.0
UNFOLLOWED_S: Final = 1.0
REFUSED_S: Final = 5.0
"""How long a bad key is known to be bad; no longer than a good one is remembered."""

BAD_KEY: Final = "The API key is not valid (one starts with llmr_pk_), or was revoked, or has expired."

WITHOUT_AUTH_S: Final = 900.0
"""How long a key is believed while auth, or its database, is away."""

_ASK_AGAIN_S: Final = 1.0
_LOOKUP_TIMEOUT_S: Final = 2.0
_RENEW_BEFORE_S: Final = 60
_MAX_REFUSED: Final = 10_000
_NOBODY: Final = UUID(int=0)

DOUBTED: Final = 0.0
"""`KnownKey.fresh_until` of a key that must be asked for before it passes."""

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Verification)


class KnownKey:
    """A verified key or session, with all that a request by it needs.

    Attributes:
        kind: which of the two.
        principal: who is calling.
        header: the principal token as the header that services read.
        limit: requests in any minute; None is no limit.
        bucket: what its requests are counted under.
        found: what auth said of it.
        asked_at: epoch second at which auth was asked.
        fresh_until: epoch second up to which all this may be used without asking again; `DOUBTED` when auth
            must have been asked before it passes.
        renew_at: epoch second at which another token is due.
    """

    __slots__ = (
        "asked_at",
        "bucket",
        "found",
        "fresh_until",
        "header",
        "kind",
        "limit",
        "principal",
        "renew_at",
    )

    def __init__(
        self,
        found: Verification,
        principal: Principal,
        header: Header,
        *,
        kind: CredentialKind,
        asked_at: float,
        fresh_until: float,
        renew_at: float,
    ) -> None:
        self.kind = kind
        self.found = found
        self.asked_at = asked_at
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
        if known is None or now < known.fresh_until:
            return known
        if self._auth_is_away and self._is_believable(known, now):
            # Whether auth is back is found out beside the request, not before it.
            if digest not in self._lookups:
                self.start_lookup(digest, now, known.kind)
            return known
        return None

    def was_good(self, digest: bytes) -> bool:
        """Whether the key was good when auth was last asked. It must be asked again; it is no stranger."""
        return digest in self._known

    def is_refused(self, digest: bytes, now: float) -> bool:
        """Whether auth has refused this key a moment ago."""
        return now < self._refused.get(digest, 0.0)

    def find_lookup(self, digest: bytes) -> "asyncio.Task[KnownKey] | None":
        """The question about this key that is under way, if there is one."""
        return self._lookups.get(digest)

    def start_lookup(
        self, digest: bytes, now: float, kind: CredentialKind = "key"
    ) -> "asyncio.Task[KnownKey]":
        """Ask auth about a key. The task outlives the request that started it; await it by `shield`.

        The task raises:
            UnauthenticatedError: there is no such key, or it is revoked, or over.
            UnavailableError: auth is away, or does not trust this gateway.
        """
        task = asyncio.create_task(self._look_up(digest, now, kind), name="gateway.key-lookup")
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
            self._known[digest].fresh_until = DOUBTED
        self._refused.clear()
        self._lookups.clear()

    def doubt_all(self) -> None:
        """Believe nothing any more, nor any answer that may be older than this."""
        for known in self._known.values():
            known.fresh_until = DOUBTED
        self._refused.clear()
        self._lookups.clear()

    def _forget_lookup(self, digest: bytes) -> "Callable[[asyncio.Task[KnownKey]], None]":
        def forget(task: "asyncio.Task[KnownKey]") -> None:
            if self._lookups.get(digest) is task:
                del self._lookups[digest]
            if not task.cancelled():
                task.exception()  # whoever waited has been told; nobody may have waited

        return forget

    async def _look_up(self, digest: bytes, now: float, kind: CredentialKind) -> KnownKey:
        this = asyncio.current_task()
        try:
            found = await self._ask(digest, kind)
        except UnavailableError:
            believed = self._known.get(digest)
            if believed is None or not self._is_believable(believed, now):
                raise
            return self._believe_on(digest, believed, now)
        still_asked = self._lookups.get(digest) is this
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            if still_asked:
                self._remove(digest)
                self._refuse(digest, now)
            raise UnauthenticatedError(BAD_KEY if kind == "key" else BAD_SESSION)
        known = self._verified(self._known.get(digest), found, now, kind)
        if still_asked:
            self._remember(digest, known)
        return known

    async def _ask(self, digest: bytes, kind: CredentialKind) -> Verification | None:
        body = _encoder.encode(KeyLookup(digest.hex(), kind))
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

    def _believe_on(self, digest: bytes, before: KnownKey, now: float) -> KnownKey:
        """Use a key for a moment more although auth could not be asked, with a new token if it is time."""
        known = self._verified(before, before.found, now, before.kind)
        known.asked_at = before.asked_at
        known.fresh_until = min(now + _ASK_AGAIN_S, known.fresh_until)
        self._remember(digest, known)
        return known

    def _is_believable(self, known: KnownKey, now: float) -> bool:
        """Whether a key may go on without being asked for, while auth is away."""
        ends_at = known.found.expires_at
        return (
            self._remembered_s == FOLLOWED_S
            and known.fresh_until != DOUBTED
            and now < known.asked_at + WITHOUT_AUTH_S
            and (ends_at is None or now < ends_at)
        )

    def _own_principal(self) -> Header:
        now = self._clock.now().timestamp()
        if now >= self._own_renew_at:
            own = Principal(account_id=_NOBODY, key_id=_NOBODY, scopes=(SCOPE_GATEWAY,))
            self._own_header = (PRINCIPAL_HEADER, self._mint.mint(own))
            self._own_renew_at = now + TOKEN_LIFETIME_S - _RENEW_BEFORE_S
        return self._own_header

    def _verified(
        self, before: KnownKey | None, found: Verification, now: float, kind: CredentialKind
    ) -> KnownKey:
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
        return KnownKey(
            found,
            principal,
            header,
            kind=kind,
            asked_at=now,
            fresh_until=fresh_until,
            renew_at=renew_at,
        )

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
