"""Which addresses may be called on behalf of a customer: public ones, however they are spelled.

Whoever may make a server call an address of his choice may try the ones that only this server reaches: its
own ports, its neighbours, the cloud's metadata (OWASP API7:2023, server side request forgery).
"""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = IPv4Address | IPv6Address

MAX_URL_LENGTH: Final = 2_048

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_ENDS_IN_NUMBER: Final = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)\.?", re.ASCII)
"""What resolvers and browsers take for an IPv4 address, in one of its old spellings (URL standard, "ends in a
number")."""

_NOT_CALLED: Final = tuple(
    ip_network(each)
    for each in (
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.88.99.0/24",  # relays from IPv6 (RFC 7526)
        "168.63.129.16/32",  # a public address by which one cloud serves its metadata
        "2001::/23",  # protocol assignments, Teredo among them (RFC 4380)
        "2002::/16",  # 6to4: an IPv4 address inside (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


class Destination(NamedTuple):
    """Where a URL leads.

    Attributes:
        host: in lower case, an IPv6 address without its brackets.
        address: the same where the host is an address and no name.
    """

    url: str
    host: str
    address: Address | None


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could call the address as well."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NOT_CALLED)
    )


def parse_destination(url: str, *, allow_plain: bool) -> Destination:
    """Read a URL that a customer gave, in the one strict spelling that all parsers understand alike.

    Args:
        url: as it came.
        allow_plain: `http` is good as well.

    Raises:
        ValueError: it is not such a URL; the text says why.
    """
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"must have {MAX_URL_LENGTH} characters at most")
    if not (url.isascii() and url.isprintable()) or any(each in url for each in ' \\#"<>^`{|}'):
        raise ValueError("must be a plain URL in ASCII, without a fragment")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL with a host and a port") from None
    if parts.scheme != "https" and not (allow_plain and parts.scheme == "http"):
        raise ValueError("must start with https://")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or a password")
    if not host or port == 0:
        raise ValueError("is not a URL with a host and a port")
    return Destination(url, host, _parse_host(host, is_bracketed="[" in parts.netloc))


def _parse_host(host: str, *, is_bracketed: bool) -> Address | None:
    """The address that a host is, or None where it is a name."""
    try:
        address = None if "%" in host else ip_address(host)
    except ValueError:
        address = None
    if address is not None:
        return address
    if is_bracketed or len(host) > 253 or not _NAME.fullmatch(host) or _ENDS_IN_NUMBER.fullmatch(host):
        raise ValueError("its host is neither a name nor an address in its usual spelling")
    return None
