"""Which service answers which path, and that no spelling leads around the table."""

import pytest

from tests.gateway.conftest import House

ROUTES = [
    ("GET", "/registry", "registry"),
    ("GET", "/registry.json", "registry"),
    ("GET", "/registry/v/2026.01.01/registry.json", "registry"),
    ("GET", "/registry/models/openai/gpt-4o", "registry"),
    ("GET", "/registry/models/meta/llama%2F3%3A8b", "registry"),
    ("GET", "/registry/models/x/h%C3%A9", "registry"),
    ("POST", "/registry/versions", "registry"),
    ("POST", "/api/v1/log", "ingest"),
    ("POST", "/api/v1/log/batch", "ingest"),
    ("GET", "/api/v1/logs", "ingest"),
    ("GET", "/api/v1/logs/0198-aa", "ingest"),
    ("GET", "/api/v1/stats", "ingest"),
    ("POST", "/api/v1/receipts", "receipts"),
    ("GET", "/api/v1/receipts/0198-aa/proof", "receipts"),
    ("POST", "/api/v1/receipts/verify", "receipts"),
    ("GET", "/api/v1/receipts/public-keys.json", "receipts"),
    ("PATCH", "/api/v1/webhooks/0198-aa", "webhooks"),
    ("POST", "/api/v1/register", "auth"),
    ("POST", "/api/v1/cli/register", "auth"),
    ("PATCH", "/api/v1/admin/accounts/0198-aa", "auth"),
]


@pytest.mark.parametrize(("method", "path", "service"), ROUTES)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_both_forms_of_a_path_reach_its_service(
    local_house: House, method: str, path: str, service: str, slash: str
) -> None:
    key = local_house.new_key()
    answer = await local_house.ask(method, path + slash, ("X-API-Key", key))
    assert (answer.status, answer.json) == (200, {"service": service})
    assert sum(len(recorder.requests) for recorder in local_house.services.values()) == 1


async def test_an_encoded_name_means_the_same_in_both_modes(house: House) -> None:
    for path, decoded in [
        ("/registry/models/meta/llama%2F3%3A8b", "/registry/models/meta/llama/3:8b"),
        ("/registry/models/x/a%2520b/", "/registry/models/x/a%20b"),
        ("/registry/models/x/h%C3%A9", "/registry/models/x/hé"),
        ("/registry/models/x/100%25", "/registry/models/x/100%"),
    ]:
        assert (await house.ask("GET", path + "?q=%2F&r=a+b")).status == 200
        request = house.services["registry"].last
        assert (request.path, request.query) == (decoded, "q=%2F&r=a+b")


NOWHERE = [
    "/internal",
    "/internal/health",
    "/internal/keys/verify",
    "/internal/openapi.json",
    "/internal/keys/verify/",
    "//internal/keys/verify",
    "/./internal/keys/verify",
    "/registry/../internal/keys/verify",
    "/registry/%2e%2e/internal/keys/verify",
    "/registry/%2E%2E%2Finternal/keys/verify",
    "/registry/..%2finternal/keys/verify",
    "/registry/..",
    "/registry/.",
    "/registry/./versions",
    "/registry//versions",
    "/registry//",
    "/registry/%2F",
    "//registry",
    "/registry%2F",
    "/registry%2Fversions",
    "/%72egistry",
    "/registry%00",
    "/registry/%00",
    "/registry/a%0d%0ab",
    "/registry/a%7f",
    "/registry/a\\b",
    "/registry/a%5Cb",
    "/Registry",
    "/REGISTRY.JSON",
    "/registryfoo",
    "/registry.jsonx",
    "/registry.json/x",
    "/registry.json.bak",
    "/registry;x=1",
    "/API/v1/log",
    "/api/V1/log",
    "/api/v1/Log",
    "/api/v1/logx",
    "/api/v1/log%2Fbatch",
    "/api/v1/stats/x",
    "/api/v1/receipts%2Fverify",
    "/api/v1/register/x",
    "/api/v1/adminx",
    "/api/v1",
    "/api",
    "/metrics",
    "/docs/x",
    "/healthz",
    "/health/live/x",
    "/openapi.jsonx",
    "/%64ocs",
    "/favicon.ico",
    "*",
]


@pytest.mark.parametrize("path", NOWHERE)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_the_table_does_not_name_is_nowhere(local_house: House, path: str, method: str) -> None:
    answer = await local_house.ask(method, path, ("X-API-Key", local_house.new_key()))
    assert answer.status == 404
    assert answer.json["type"].endswith("/not-found")
    assert all(not recorder.requests for recorder in local_house.services.values())
    assert local_house.auth.lookups == []


async def test_an_encoded_spelling_opens_no_closed_path(local_house: House) -> None:
    for path in ("/api/v1/receipts/%76erify", "/api/v1/receipts/verify%2F", "/api/v1/receipts/x%2Fverify"):
        assert (await local_house.ask("POST", path)).status in (401, 404)
    assert local_house.services["receipts"].requests == []


async def test_publishing_needs_a_key_and_listing_versions_does_not(local_house: House) -> None:
    assert (await local_house.ask("GET", "/registry/versions/")).status == 200
    assert (await local_house.ask("POST", "/registry/versions")).status == 401


CONTENT = ["conversations", "conversations/1/messages", "templates", "templates/", "mcp", "mcp/servers"]


@pytest.mark.parametrize("path", CONTENT)
@pytest.mark.parametrize("prefix", ["/", "/api/v1/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_paths_that_keep_content_say_that_none_is_kept(
    local_house: House, prefix: str, path: str, method: str
) -> None:
    answer = await local_house.ask(method, prefix + path)
    assert answer.status == 404
    assert "does not keep prompts and responses" in answer.json["detail"]


async def test_the_index_tells_where_to_go_on(local_house: House) -> None:
    answer = await local_house.ask("GET", "/")
    assert answer.status == 200
    index = answer.json
    assert index["version"] == "1.2.3"
    assert (index["documentation"], index["openapi"]) == ("/docs", "/openapi.json")
    key = local_house.new_key()
    for path in [index["documentation"], *index["endpoints"].values()]:
        assert (await local_house.ask("GET", path, ("X-API-Key", key))).status != 404


@pytest.mark.parametrize("page", ["/", "/health", "/health/live", "/health/ready", "/docs", "/openapi.json"])
async def test_the_gateways_own_pages_can_only_be_read(local_house: House, page: str) -> None:
    for method in ("POST", "PUT", "DELETE", "TRACE"):
        answer = await local_house.ask(method, page)
        assert (answer.status, answer.get("allow")) == (405, "GET, HEAD, OPTIONS")
    options = await local_house.ask("OPTIONS", page)
    assert (options.status, options.get("allow"), options.body) == (204, "GET, HEAD, OPTIONS", b"")
    slash = await local_house.ask("GET", page + "/" if page != "/" else page)
    assert slash.status in (200, 503)


async def test_head_is_get_without_the_body(house: House) -> None:
    house.services["registry"].headers = [(b"etag", b'"x"')]
    got = await house.ask("GET", "/registry.json")
    head = await house.ask("HEAD", "/registry.json")
    assert head.status == got.status
    assert head.body == b""
    for name in ("content-length", "content-type", "etag"):
        assert head.get(name) == got.get(name) is not None
    assert (await house.ask("HEAD", "/docs")).get("content-length") == str(
        len((await house.ask("GET", "/docs")).body)
    )


async def test_a_refused_head_has_no_body_either(house: House) -> None:
    assert (await house.ask("HEAD", "/api/v1/stats")).status == 401
    assert (await house.ask("HEAD", "/nowhere")).status == 404
