"""Whose scripts may read our answers, and how browsers are told."""

import pytest

from services.gateway.cors import Cors
from services.gateway.settings import GatewaySettings
from tests.gateway.conftest import LOG, House, open_house

APP, OTHER = "https://app.example.com", "https://evil.example"
JSON = ("Content-Type", "application/json")


def cors_of(answer: object) -> dict[str, str]:
    return {k: v for k, v in answer.headers if k.startswith("access-control-")}  # type: ignore[attr-defined]


def preflight(origin: str) -> list[tuple[str, str]]:
    return [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "x-api-key,content-type,idempotency-key"),
    ]


async def visit(house: House, origin: str) -> list[object]:
    """Answers of all kinds: a page, an open path, one with a key, a refused one, and nothing."""
    key = ("X-API-Key", house.new_key())
    return [
        await house.ask("GET", "/health/live", ("Origin", origin)),
        await house.ask("GET", "/registry", ("Origin", origin)),
        await house.ask("POST", "/api/v1/log", ("Origin", origin), key, JSON, body=LOG),
        await house.ask("GET", "/api/v1/stats", ("Origin", origin)),
        await house.ask("GET", "/nowhere", ("Origin", origin)),
    ]


async def test_by_default_no_site_is_told_anything(local_house: House) -> None:
    for origin in (APP, "null", "*"):
        for answer in await visit(local_house, origin):
            assert cors_of(answer) == {}
        asked = await local_house.ask("OPTIONS", "/nowhere", *preflight(origin))
        assert (asked.status, cors_of(asked)) == (404, {})


async def test_a_named_site_may_read_and_send_cookies_and_no_other_may() -> None:
    settings = GatewaySettings(cors_origins=(APP, "http://localhost:3000"))
    for mode in ("in_process", "over_http"):
        async with open_house(mode, settings) as house:
            for service in house.services.values():
                service.headers = [
                    (b"access-control-allow-origin", b"*"),
                    (b"access-control-allow-credentials", b"true"),
                    (b"access-control-expose-headers", b"x-other"),
                ]
            for answer in await visit(house, APP):
                told = cors_of(answer)
                assert told["access-control-allow-origin"] == APP
                assert told["access-control-allow-credentials"] == "true"
                exposed = told["access-control-expose-headers"].lower().split(", ")
                assert {"x-ratelimit-remaining", "retry-after", "etag", "x-request-id", "link"} <= {*exposed}
                assert answer.all("vary").count("Origin") == 1  # type: ignore[attr-defined]
            for origin in (
                OTHER,
                APP + ".evil.example",
                APP.upper(),
                "null",
                "*",
                f"{APP}, {APP}",
                APP + ":443",
            ):
                for answer in await visit(house, origin):
                    assert cors_of(answer) == {}
                    assert answer.all("vary").count("Origin") == 1  # type: ignore[attr-defined]
            assert house.services["ingest"].last.all("origin") != []


async def test_a_preflight_needs_no_key_and_reaches_no_service() -> None:
    async with open_house(settings=GatewaySettings(cors_origins=(APP,))) as house:
        for path in ("/api/v1/log", "/registry", "/docs", "/nowhere"):
            answer = await house.ask("OPTIONS", path, *preflight(APP))
            told = cors_of(answer)
            assert (answer.status, answer.body) == (204, b"")
            assert told["access-control-allow-origin"] == APP
            assert told["access-control-max-age"] == "7200"
            assert "PATCH" in told["access-control-allow-methods"].split(", ")
            allowed = told["access-control-allow-headers"].lower().split(", ")
            assert {"x-api-key", "authorization", "content-type", "idempotency-key", "if-none-match"} <= {
                *allowed
            }
            assert answer.get("x-ratelimit-limit") is None
        refused = await house.ask("OPTIONS", "/docs", *preflight(OTHER))
        assert cors_of(refused) == {}
        assert not any(service.requests for service in house.services.values())
        assert house.auth.lookups == []


async def test_every_site_never_comes_with_cookies() -> None:
    async with open_house(settings=GatewaySettings(cors_origins=("*",))) as house:
        for answer in [
            *await visit(house, OTHER),
            await house.ask("OPTIONS", "/registry", *preflight(OTHER)),
        ]:
            told = cors_of(answer)
            assert told["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in told


@pytest.mark.parametrize(
    "origin",
    [
        "app.example.com",
        "https://",
        APP + "/",
        "HTTPS://app.example.com",
        "null",
        "https://*.example.com",
        "ftp://x",
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        Cors([origin])


def test_every_site_stands_alone() -> None:
    with pytest.raises(ValueError, match="name no others"):
        Cors([APP, "*"])
