"""What clients do on the wire, to the whole product."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.live.conftest import Account
from tests.live.process import ServerProcess

CALL = json.dumps({"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1}).encode()


def talk(url: str, text: bytes, *, leave: bool = False) -> bytes:
    """What is answered to bytes on a connection of their own, up to its end."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20) as connection:
        connection.sendall(text)
        if leave:
            return b""
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def head(path: str, account: Account, *headers: bytes) -> bytes:
    lines = (f"POST {path} HTTP/1.1".encode(), b"Host: x", f"X-API-Key: {account.key}".encode(), *headers)
    return b"\r\n".join((*lines, b"Content-Type: application/json", b"Connection: close", b"", b""))


@pytest.mark.parametrize(("zeros", "status"), [(30, 200), (4400, 200), (60_000, 200)])
def test_zeros_before_a_length_change_nothing(
    server: ServerProcess, account: Account, zeros: int, status: int
) -> None:
    length = b"Content-Length: " + b"0" * zeros + b"%d" % len(CALL)
    assert talk(server.url, head("/api/v1/log", account, length) + CALL).startswith(b"HTTP/1.1 %d " % status)


def test_a_length_beyond_all_numbers_is_too_large(server: ServerProcess, account: Account) -> None:
    answer = talk(server.url, head("/api/v1/log", account, b"Content-Length: " + b"9" * 19))
    assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))


def test_whoever_offers_an_upgrade_can_post(server: ServerProcess, account: Account) -> None:
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    text = head("/api/v1/log", account, *offer, b"Content-Length: %d" % len(CALL))
    assert talk(server.url, text + CALL).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/api/v1/login", "/api/v1/log", "/api/v1/keys", "/api/v1/receipts/verify"])
def test_a_client_that_leaves_in_its_body_is_no_error(
    server: ServerProcess, account: Account, path: str
) -> None:
    begins_at = server.log.stat().st_size
    talk(server.url, head(path, account, b"Content-Length: 1000") + CALL, leave=True)
    assert account.http.get("/api/v1/keys").status_code == 200
    account.complete_stats()
    with server.log.open("rb") as log:
        log.seek(begins_at)
        assert b"Traceback" not in log.read()
