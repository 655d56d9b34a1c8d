"""Who is limited by what, and how an answer says it.

A key is limited by its own number, an address without a key by the setting. Bad keys are counted per address
and apart from that: a flood of anonymous requests behind the same address does not shut a good key out.
"""

from functools import lru_cache
from typing import Final

from services.gateway.requests import FORWARDED_FOR, FORWARDED_PROTO, Header
from services.gateway.settings import GatewaySettings
from shared.limits.address import bucket_key, client_address, is_trusted, parse_trusted_proxies
from shared.limits.port import WINDOW_S, Decision, RateLimiter

_ANONYMOUS: Final = "anonymous:"
_BAD_KEYS: Final = "bad-keys:"


class AddressLimits:
    """The limits of client addresses: requests without a key, and bad keys.

    Raises:
        ValueError: `trusted_proxies` holds what is no address or network, or would trust everybody.
    """

    def __init__(self, limiter: RateLimiter, settings: GatewaySettings) -> None:
        self._limiter = limiter
        self._limit = settings.anonymous_requests_per_minute
        self._trusted = parse_trusted_proxies(settings.trusted_proxies)

    def client_of(self, peer: str, found: list[bytes | None]) -> str:
        """The address a request came from: the peer's, or the one that a trusted proxy wrote."""
        forwarded_for = found[FORWARDED_FOR]
        if forwarded_for is None or not self._trusted:
            return peer
        return client_address(peer, forwarded_for.decode("latin-1"), self._trusted)

    def is_https(self, scheme: str, peer: str, found: list[bytes | None]) -> bool:
        """Whether the client speaks HTTPS: to this process, or to a trusted proxy that says so."""
        if scheme == "https":
            return True
        told = found[FORWARDED_PROTO]
        return told is not None and told.lower() == b"https" and is_trusted(peer, self._trusted)

    async def count_anonymous(self, address: str, now: float) -> Decision:
        """Count a request without a key."""
        return await self._limiter.hit(_ANONYMOUS + bucket_key(address), self._limit, now)

    async def count_bad_key(self, address: str, now: float) -> Decision:
        """Count a bad key, or one about to be looked up, which may turn out to be bad."""
        return await self._limiter.hit(_BAD_KEYS + bucket_key(address), self._limit, now)

    async def uncount_bad_key(self, address: str, counted_at: float) -> None:
        """Take back what was counted: the key turned out to be good, or could not be looked up."""
        await self._limiter.take_back(_BAD_KEYS + bucket_key(address), counted_at)


@lru_cache(maxsize=256)
def _fixed_headers(limit: int) -> tuple[Header, Header]:
    return (
        (b"x-ratelimit-limit", b"%d" % limit),
        (b"ratelimit-policy", b'"default";q=%d;w=%d' % (limit, WINDOW_S)),
    )


def limit_headers(decision: Decision, now: float) -> tuple[Header, ...]:
    """The headers of a limited answer: the contract's three, and draft-ietf-httpapi-ratelimit-headers-10."""
    limit, policy = _fixed_headers(decision.limit)
    remaining = decision.remaining
    reset_s = decision.reset_at - int(now)
    return (
        limit,
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % decision.reset_at),
        policy,
        (b"ratelimit", b'"default";r=%d;t=%d' % (remaining, min(reset_s, WINDOW_S))),
    )
