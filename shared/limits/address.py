"""Whose address a request comes from, and which bucket that address is counted in.

Only what a trusted proxy wrote is believed. Each proxy appends the address it saw to `X-Forwarded-For`, so
the list is read from the right, past our own proxies, to the first address that is not one of them; what
stands further left was written by the client and is never looked at.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_MAX_HEADER_CHARS = 4096
_MAX_HOPS = 32
_IPV6_PREFIX = 64


def parse_trusted_proxies(entries: Sequence[str]) -> tuple[Network, ...]:
    """Read the setting that lists the proxies: addresses and networks (`10.0.0.0/8`, `2001:db8::/32`).

    Raises:
        ValueError: an entry is no address or network, has bits set behind its prefix, or means everybody
            (`*`, a prefix of length 0): then every client could write its own address.
    """
    networks: list[Network] = []
    for entry in entries:
        text = entry.strip()
        if text == "*":
            raise ValueError("trusted proxies: '*' would believe every client; list the proxies' networks")
        try:
            network = ip_network(text)
        except ValueError as error:
            raise ValueError(f"trusted proxies: {error}") from None
        if network.prefixlen == 0:
            raise ValueError(
                f"trusted proxies: {text} would believe every client; list the proxies' networks"
            )
        networks.append(network)
    return tuple(networks)


def client_address(peer: str, forwarded_for: str | None, trusted_proxies: Sequence[Network]) -> str:
    """The address a request came from, as text.

    Args:
        peer: the other end of the connection.
        forwarded_for: the `X-Forwarded-For` header; several of them joined by commas, in order.
        trusted_proxies: from `parse_trusted_proxies`.

    Returns:
        The first address from the right that is no trusted proxy, or the leftmost one when all are. The peer
        itself when it is no trusted proxy, or when the text up to that point is not a list of addresses.
    """
    if not forwarded_for or not is_trusted(peer, trusted_proxies):
        return peer
    if len(forwarded_for) > _MAX_HEADER_CHARS:
        return peer
    hops = forwarded_for.split(",")
    address = None
    for hop in reversed(hops[-_MAX_HOPS:]):
        address = _parse_hop(hop.strip())
        if address is None:
            return peer
        if not _is_trusted(address, trusted_proxies):
            break
    return peer if address is None else str(address)


@lru_cache(maxsize=16_384)
def bucket_key(address: str) -> str:
    """The bucket an address is counted in: IPv4 as it is, IPv6 by its /64, which one customer owns whole.

    An IPv4 address written as IPv6 (`::ffff:198.51.100.7`) is counted as IPv4. What is no address, for
    instance the peer of a Unix socket, is a bucket by its own text.
    """
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> _IPV6_PREFIX << _IPV6_PREFIX, _IPV6_PREFIX)))
    return address if parsed is None else str(parsed)


def is_trusted(peer: str, trusted_proxies: Sequence[Network]) -> bool:
    """Whether the other end of a connection is one of our own proxies."""
    return bool(trusted_proxies) and _is_trusted(_parse(peer), trusted_proxies)


def _is_trusted(address: IPv4Address | IPv6Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _parse_hop(text: str) -> IPv4Address | IPv6Address | None:
    # Some proxies append the client's port: 198.51.100.7:4711 or [2001:db8::1]:4711.
    if text.startswith("["):
        inside, closed, port = text[1:].partition("]")
        if not closed or (port and not (port[0] == ":" and _is_port(port[1:]))):
            return None
        text = inside
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(port):
            return None
    return _parse(text) if "%" not in text else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


@lru_cache(maxsize=4096)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
