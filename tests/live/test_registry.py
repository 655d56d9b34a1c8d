"""The registry's reads through the gateway, as a cache or a browser sees them."""

import httpx
import pytest

from tests.live.conftest import Account
from tests.live.process import ServerProcess

PATHS = {
    "/registry": "public, max-age=3600",
    "/registry.json?providers=openai&capabilities=vision&active=true": "public, max-age=3600",
    "/registry/v/2026.08.18.3/registry.json": "public, max-age=31536000, immutable",
    "/registry/v/2026.08.18.3/changes.json": "public, max-age=31536000, immutable",
    "/registry/versions": "no-cache",
    "/registry/changelog?limit=2": "no-cache",
    "/registry/diff?from=2025.09.14&to=2026.08.18.3": "public, max-age=31536000, immutable",
    "/registry/models/openai/gpt-4o": "public, max-age=3600",
    "/registry/openai/models.json": "public, max-age=3600",
    "/registry/openai/v/7/models.json": "public, max-age=31536000, immutable",
}


@pytest.mark.parametrize("path", PATHS)
def test_every_read_can_be_kept_and_asked_about_again(
    server: ServerProcess, account: Account, path: str
) -> None:
    ask = account.http
    for coding in ("identity", "gzip"):
        headers = {"Accept-Encoding": coding}
        first = ask.get(path, headers=headers)
        assert first.status_code == 200, first.text
        assert first.headers["cache-control"] == PATHS[path]
        assert first.headers["vary"] == "Accept-Encoding"
        assert first.headers["content-type"] == "application/json"
        head = ask.head(path, headers=headers)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == first.headers["etag"]
        for method in ("GET", "HEAD"):
            for condition in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
                again = ask.request(method, path, headers={**headers, "If-None-Match": condition})
                assert (again.status_code, again.content) == (304, b""), condition
                for name in ("etag", "cache-control", "vary"):
                    assert again.headers[name] == first.headers[name]
    before, _, query = path.partition("?")
    assert ask.get(f"{before}/?{query}").json() == first.json()


def test_reads_need_no_key(server: ServerProcess) -> None:
    assert httpx.get(f"{server.url}/registry/openai/models.json").status_code == 200
    refused = httpx.post(f"{server.url}/registry/versions", json={"models": []})
    assert refused.status_code == 401
