"""Case P9: who a request is counted as, whatever its headers claim."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.limits.address import bucket_key, client_address, parse_trusted_proxies

PROXIES = parse_trusted_proxies(["192.0.2.0/24", "2001:db8:f::/48"])
PROXY = "192.0.2.10"


@pytest.mark.parametrize("claim", [f"198.51.100.{i}" for i in range(61)])
def test_a_stranger_cannot_choose_its_own_address(claim: str) -> None:
    assert client_address("203.0.113.5", claim, PROXIES) == "203.0.113.5"


def test_nobody_is_believed_when_no_proxy_is_trusted() -> None:
    assert client_address(PROXY, "198.51.100.7", ()) == PROXY


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("198.51.100.7", "198.51.100.7"),
        (" 198.51.100.7 ", "198.51.100.7"),
        ("203.0.113.9,198.51.100.7,192.0.2.77", "198.51.100.7"),
        ("203.0.113.9,198.51.100.7,192.0.2.77,2001:db8:f::1", "198.51.100.7"),
        ("not-an-ip, 198.51.100.7", "198.51.100.7"),
        ("192.0.2.88, 192.0.2.77", "192.0.2.88"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8:7:1::5]:4711", "2001:db8:7:1::5"),
        ("[2001:db8:7:1::5]", "2001:db8:7:1::5"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, ::ffff:192.0.2.77", "198.51.100.7"),
    ],
)
def test_the_address_that_our_proxies_saw_counts(header: str, client: str) -> None:
    assert client_address(PROXY, header, PROXIES) == client


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        " ",
        ",",
        "not-an-ip",
        "198.51.100.7, not-an-ip",
        "198.51.100.7,",
        "unknown",
        "_hidden",
        "256.1.1.1",
        "010.1.1.1",
        "1.2.3",
        "198.51.100.7:port",
        "198.51.100.7:999999",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "fe80::1%eth0",
        '"198.51.100.7"',
        "198.51.100.7\x00",
        "١٩٨.51.100.7",
        "198.51.100.7, " * 1000,
        "x" * 10_000,
    ],
)
def test_bad_text_counts_as_the_peer(header: str | None) -> None:
    assert client_address(PROXY, header, PROXIES) == PROXY


def test_a_long_chain_is_read_from_its_end_only() -> None:
    header = ",".join(["203.0.113.9"] * 100 + ["192.0.2.77"] * 31)
    assert client_address(PROXY, header, PROXIES) == "203.0.113.9"
    assert client_address(PROXY, header + ",192.0.2.77", PROXIES) == "192.0.2.77"


def test_a_proxy_that_reaches_us_over_mapped_ipv4_is_known() -> None:
    assert client_address("::ffff:192.0.2.10", "198.51.100.7", PROXIES) == "198.51.100.7"


@pytest.mark.parametrize("peer", ["", "testclient", "/run/llmring.sock"])
def test_a_peer_that_is_no_address_is_a_bucket_of_its_own(peer: str) -> None:
    assert client_address(peer, "198.51.100.7", PROXIES) == peer
    assert bucket_key(peer) == peer


def test_one_ipv6_customer_has_one_bucket() -> None:
    hops = {bucket_key(f"2001:db8:7:1::{i:x}") for i in range(61)}
    assert hops == {"2001:db8:7:1::/64"}
    assert bucket_key("2001:db8:7:2::1") not in hops


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("::ffff:c633:6407", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("2001:DB8:7:1:0:0:0:5", "2001:db8:7:1::/64"),
    ],
)
def test_spellings_of_one_address_share_a_bucket(address: str, bucket: str) -> None:
    assert bucket_key(address) == bucket


@pytest.mark.parametrize(
    "entry", ["*", " * ", "0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy.example", "", "10.0.0.0/33"]
)
def test_a_list_of_proxies_that_means_everybody_or_nobody_refuses_to_start(entry: str) -> None:
    with pytest.raises(ValueError, match="trusted proxies"):
        parse_trusted_proxies(["192.0.2.0/24", entry])


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_header_is_an_error(text: str) -> None:
    assert client_address("203.0.113.5", text, PROXIES) == "203.0.113.5"
    assert isinstance(bucket_key(client_address(PROXY, text, PROXIES)), str)
