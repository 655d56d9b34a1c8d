"""Which addresses may be called on behalf of a customer, in whatever spelling they come."""

import contextlib
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.web.addresses import is_public, parse_destination

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.254",
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.0.1",
    "172.32.0.1",
    "192.167.1.1",
    "223.255.255.254",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_not_on_the_internet_is_not_called(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_on_the_internet_may_be_called(text: str) -> None:
    assert is_public(ip_address(text))


@given(st.ip_addresses(v=4))
def test_an_address_in_another_ones_clothes_is_judged_by_what_is_inside(inner: IPv4Address) -> None:
    for prefix in (0xFFFF << 32, int(IPv6Address("64:ff9b::"))):
        assert is_public(IPv6Address(prefix | int(inner))) == is_public(inner)
    assert not is_public(IPv6Address((0x2002 << 112) | (int(inner) << 80) | 1))


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "1"),
        *("127.0.0.01", "0x", "a.0x7f", "127.0.0.1.5", "256.1.1.1", "1.2.3.4.", "a.1."),
        *(
            "",
            ".",
            "a..b",
            "-a.com",
            "a-.com",
            ".a.com",
            "a" * 64 + ".com",
            "a.b" * 90,
            "a%41.com",
            "a b.com",
        ),
        *("[::1", "::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[v1.fe]", "[127.0.0.1]x", "①②⑦.⓪.⓪.①"),
        *(
            "user@a.com",
            "user:pw@a.com",
            "a.com:0",
            "a.com:65536",
            "a.com:x",
            "127.0.0.1\\@a.com",
            "a.com\\b",
        ),
        *("a.com#b", "a.com\n.b", "a.com\t", "a.com\0", "a<b>.com"),
    ],
)
def test_a_host_in_an_odd_spelling_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|is not|its host)"):
        parse_destination(f"https://{host}/hook", allow_plain=True)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com", "example.com"),
        ("HTTPS://Example.COM:8443/a/b%20c?d=e&f=%2F", "example.com"),
        ("https://xn--bcher-kva.example/hook", "xn--bcher-kva.example"),
        ("https://my_service.internal.example./", "my_service.internal.example."),
        ("https://localhost.", "localhost."),
        ("https://93.184.215.14/", "93.184.215.14"),
        ("https://[2606:4700::1111]:8443/", "2606:4700::1111"),
    ],
)
def test_a_plain_url_is_read(url: str, host: str) -> None:
    found = parse_destination(url, allow_plain=False)
    assert (found.url, found.host) == (url, host)
    assert found.address == (ip_address(host) if host[0] in "92" else None)


def test_only_https_and_not_for_ever() -> None:
    for url in (
        "http://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "https:/a.com",
        "",
    ):
        with pytest.raises(ValueError, match=r"https|host"):
            parse_destination(url, allow_plain=False)
    parse_destination("http://example.com/", allow_plain=True)
    with pytest.raises(ValueError, match="2048"):
        parse_destination("https://example.com/" + "a" * 2_029, allow_plain=False)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    for url in (text, f"https://{text}"):
        with contextlib.suppress(ValueError):
            parse_destination(url, allow_plain=False)
