"""Calls to addresses that customers chose: public ones alone, and exactly the one that was looked at.

A name is looked up once for each call. Every address that it has is checked, and the connection goes to one
of these. There is no second look-up by which another answer could slip in (DNS rebinding). TLS verifies the
certificate against the name. No redirect is followed, no proxy is used, no cookie kept.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_address
from typing import Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.errors import UnavailableError
from shared.web.addresses import Address, Destination, is_public, parse_destination

LOOK_UP_WITHIN_S: Final = 2.0
"""A name that is to be noted down is looked up for so long; it is looked up again before each call."""

_THIS_MACHINE: Final = ip_address("127.0.0.1")

NOT_PUBLIC: Final = "leads to an address that is not public"

_RESOLVERS: Final = ThreadPoolExecutor(32, thread_name_prefix="look-up")
"""Of its own: somebody's slow name server must not keep the few threads busy that the process shares."""

LookUp = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a name, as text. Raises `OSError` where it has none."""


class Reply(NamedTuple):
    """An answer, as far as it was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _NotPublicError(Exception):
    """A name has an address that must not be called."""


_SENTENCES: Final = (
    (_NotPublicError, f"The host {NOT_PUBLIC}."),
    (TimeoutError, "There was no whole answer in time."),
    (aiohttp.ClientConnectorDNSError, "The name of the host has no address."),
    (aiohttp.ClientConnectorCertificateError, "The certificate is not good for this host."),
    (aiohttp.ClientSSLError, "The host does not speak TLS as it should."),
    (aiohttp.ClientConnectorError, "The host takes no connection."),
    (aiohttp.ClientError, "The host broke the connection off, or does not speak HTTP."),
    (OSError, "The host takes no connection."),
)
"""Why there was no answer, without anything of our own network in it. The first that fits counts."""


async def look_up(host: str) -> Sequence[str]:
    """Ask the system's resolver.

    Raises:
        OSError: the name has no address, or nobody can tell.
    """
    ask = functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, ask)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedOutbound:
    """Calls what customers chose.

    Args:
        timeout: for each call, from looking up the name to the last byte.
        max_bytes: what is read of an answer; the rest is not waited for.
        allow_plain: HTTP without TLS as well.
        look_up: how names become addresses.
        permits: which addresses may be called.
        trust: of certificates; the system's authorities by default.
    """

    def __init__(
        self,
        *,
        timeout: timedelta,
        max_bytes: int,
        allow_plain: bool = False,
        look_up: LookUp = look_up,
        permits: Callable[[Address], bool] = is_public,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._max_bytes = max_bytes
        self._allow_plain = allow_plain
        self._look_up = look_up
        self._permits = permits
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None

    async def check(self, url: str) -> None:
        """Whether a URL may be noted down, to be called later on. A name without an address may.

        Raises:
            ValueError: it may not; the text says why.
        """
        destination = self._parse(url)
        if destination.address is not None:
            return
        try:
            async with asyncio.timeout(LOOK_UP_WITHIN_S):
                addresses = await self._look_up(destination.host)
        except (OSError, TimeoutError, UnicodeError):
            return
        if not all(self._permits(ip_address(each)) for each in addresses):
            raise ValueError(NOT_PUBLIC)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a body, and take the answer as it is, of whatever status.

        Raises:
            UnavailableError: there was none in time, or the URL may not be called; `detail` says why, in
                words that may be shown to whoever gave the URL.
        """
        try:
            target = self._parse(url).url
            async with self._open().post(
                target, data=body, headers=headers, allow_redirects=False
            ) as response:
                taken = bytearray()
                async for chunk in response.content.iter_any():
                    taken += chunk
                    if len(taken) >= self._max_bytes:
                        break
                return Reply(response.status, response.headers, bytes(taken[: self._max_bytes]))
        except (_NotPublicError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnavailableError(_describe(error)) from error

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()

    def _parse(self, url: str) -> Destination:
        destination = parse_destination(url, allow_plain=self._allow_plain)
        address = _THIS_MACHINE if _is_this_machine(destination.host) else destination.address
        if address is not None and not self._permits(address):
            raise ValueError(NOT_PUBLIC)
        return destination

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(
                    resolver=_CheckedResolver(self._look_up, self._permits),
                    use_dns_cache=False,
                    force_close=True,
                    limit=0,
                    ssl=True if self._trust is None else self._trust,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a small answer may unpack to a very large one
                skip_auto_headers=("Accept-Encoding", "User-Agent"),
                trust_env=False,
            )
        return self._session


class _CheckedResolver(AbstractResolver):
    """Gives a connector the addresses of a name, all of which may be called, or none."""

    def __init__(self, look_up: LookUp, permits: Callable[[Address], bool]) -> None:
        self._look_up = look_up
        self._permits = permits

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - whatever the name has
    ) -> list[ResolveResult]:
        """Look the name up, once."""
        addresses = await self._look_up(host)
        if not addresses:
            raise OSError(f"{host} has no address")
        if not all(self._permits(ip_address(each)) for each in addresses):
            raise _NotPublicError(host)
        return [
            ResolveResult(
                hostname=host,
                host=each,
                port=port,
                family=socket.AF_INET6 if ":" in each else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for each in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _is_this_machine(host: str) -> bool:
    """Whether a name means this machine whatever a resolver says (RFC 6761, 6.3)."""
    return host.rstrip(".").rpartition(".")[2] == "localhost"


def _describe(error: Exception) -> str:
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    return f"The URL {error}."
