"""What can be set of the gateway."""

from typing import Annotated

import msgspec

_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; only the command line reads the environment.

    Attributes:
        public_url: where people reach this deployment: it names the cookie of sessions, and our own pages.
        anonymous_requests_per_minute: what one client address may ask without a key in any 60 s. As many bad
            keys, counted apart, are looked at before the address is refused.
        trusted_proxies: addresses and networks of our own proxies. Only behind one of them is
            `X-Forwarded-For` believed; empty believes nobody.
        cors_origins: sites whose scripts may read answers; `*` is all of them, without cookies.
        cached_keys: the most verified keys that are remembered at a time.
    """

    public_url: str = "http://127.0.0.1:8080"
    anonymous_requests_per_minute: _AtLeastOne = 60
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    cached_keys: _AtLeastOne = 10_000
