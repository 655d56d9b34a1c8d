"""The merged OpenAPI document, OPTIONS that is answered from it, and the page that shows it."""

import asyncio
import base64
import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import get, post

from services.gateway.describe import merge_documents
from services.gateway.routes import RouteTable
from services.gateway.settings import GatewaySettings
from shared.contracts.keys import Principal
from shared.web.app import build_app
from shared.web.client import AsgiUpstream
from tests.gateway.conftest import House, build_parts

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")


class Page(msgspec.Struct):
    """What the registry calls a page."""

    version: str


class Shared(msgspec.Struct):
    """The same in two services."""

    name: str


IngestPage = msgspec.defstruct("Page", [("logs", list[int])])
"""What ingest calls a page."""


@get(["/registry", "/registry.json"])
async def get_registry(version: str | None = None) -> Page:
    return Page(version or "x")


@get("/registry/models/{provider:str}/{model:path}")
async def get_model(provider: str, model: str) -> Shared:
    return Shared(provider + model)


@get("/internal/secret")
async def get_secret() -> Page:
    return Page("secret")


@get("/elsewhere")
async def get_elsewhere() -> Page:
    return Page("not routed")


@post("/api/v1/log")
async def post_log(data: Shared, principal: Principal) -> Shared:
    return data


@get("/api/v1/logs")
async def list_logs(principal: Principal) -> IngestPage:  # type: ignore[valid-type]
    return IngestPage([1])


@get("/api/v1/logs/{log_id:str}")
async def get_log(log_id: str, principal: Principal) -> IngestPage:  # type: ignore[valid-type]
    return IngestPage([1])


@post("/api/v1/receipts/verify")
async def verify(data: Shared) -> Shared:
    return data


@get("/api/v1/receipts/{receipt_id:str}")
async def get_receipt(receipt_id: str, principal: Principal) -> Shared:
    return Shared(receipt_id)


@post("/api/v1/register")
async def register(data: Shared) -> Shared:
    return data


HANDLERS: dict[str, list[Any]] = {
    "registry": [get_registry, get_model, get_secret, get_elsewhere],
    "ingest": [post_log, list_logs, get_log],
    "receipts": [verify, get_receipt],
    "webhooks": [],
    "auth": [register],
}


@pytest.fixture
def house() -> House:
    parts = build_parts()
    upstreams = {}
    for name, recorder in parts["services"].items():
        recorder.act = build_app(
            name, HANDLERS[name], service=name, principals=parts["principals"], version="1"
        )
        upstreams[name] = AsgiUpstream(recorder)
    return House(upstreams, parts, GatewaySettings())


async def read(house: House) -> Any:
    answer = await house.ask("GET", "/openapi.json")
    assert answer.status == 200
    return answer.json


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(references(item) for item in part))
    return set()


async def test_one_document_holds_what_the_gateway_lets_through(house: House) -> None:
    document = await read(house)
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == "1.2.3"
    assert set(document["paths"]) == {
        "/",
        "/docs",
        "/health",
        "/health/live",
        "/health/ready",
        "/openapi.json",
        "/login",
        "/password-reset",
        "/registry",
        "/registry.json",
        "/registry/models/{provider}/{model}",
        "/api/v1/log",
        "/api/v1/logs",
        "/api/v1/logs/{log_id}",
        "/api/v1/receipts/verify",
        "/api/v1/receipts/{receipt_id}",
        "/api/v1/register",
    }


async def test_every_reference_leads_somewhere(house: House) -> None:
    document = await read(house)
    for reference in references(document):
        at = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]
        assert at


async def test_names_that_clash_are_kept_apart_and_equal_ones_are_one(house: House) -> None:
    document = await read(house)
    schemas = document["components"]["schemas"]
    assert list(schemas["Page"]["properties"]) == ["version"]
    assert list(schemas["IngestPage"]["properties"]) == ["logs"]
    assert [name for name in schemas if "Shared" in name] == ["Shared"]
    content = document["paths"]["/api/v1/logs"]["get"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/IngestPage"}


def test_what_refers_to_a_clashing_name_is_kept_apart_as_well() -> None:
    def document(path: str, inner: str) -> Any:
        response = {"description": "x", "content": {"application/json": {"schema": ref("Outer")}}}
        return {
            "paths": {path: {"get": {"responses": {"200": response}}}},
            "components": {
                "schemas": {
                    "Outer": {"type": "object", "properties": {"inner": ref("Inner")}},
                    "Inner": {"type": inner},
                    "Problem": {"type": inner},
                }
            },
        }

    def ref(name: str) -> Any:
        return {"$ref": f"#/components/schemas/{name}"}

    routes = RouteTable(
        dict.fromkeys(("registry", "ingest", "auth", "receipts", "webhooks"), AsgiUpstream(build_parts))
    )
    parts = {"registry": document("/registry", "string"), "ingest": document("/api/v1/stats", "integer")}
    schemas = merge_documents(parts, routes, version="1")["components"]["schemas"]
    assert schemas["Outer"]["properties"] == {"inner": ref("Inner")}
    assert schemas["Inner"] == {"type": "string"}
    assert schemas["IngestOuter"]["properties"] == {"inner": ref("IngestInner")}
    assert schemas["IngestInner"] == {"type": "integer"}
    assert [name for name in schemas if "Problem" in name] == ["Problem"]
    assert schemas["Problem"]["type"] == "object"


async def test_operation_ids_are_unique(house: House) -> None:
    document = await read(house)
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict) and "operationId" in operation
    ]
    assert len(ids) == len(set(ids)) >= 8


async def test_each_operation_says_whether_it_takes_a_key(house: House) -> None:
    paths = (await read(house))["paths"]
    by_key: list[Any] = [{"ApiKey": []}, {"Bearer": []}]
    assert paths["/api/v1/log"]["post"]["security"] == [*by_key, {"Session": []}]
    assert paths["/api/v1/receipts/{receipt_id}"]["get"]["security"] == [*by_key, {"Session": []}]
    assert paths["/api/v1/receipts/verify"]["post"]["security"] == [{}, *by_key]
    assert paths["/registry"]["get"]["security"] == [{}, *by_key]
    assert paths["/api/v1/register"]["post"]["security"] == []
    assert paths["/health"]["get"]["security"] == []


async def test_errors_are_problems_and_answers_carry_limits(house: House) -> None:
    document = await read(house)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items():
                if status < "400" or path.startswith("/health"):
                    continue
                name = response.get("$ref", "").rpartition("/")[2]
                described = document["components"]["responses"].get(name, response)
                assert set(described["content"]) == {"application/problem+json"}, (path, method, status)
    ok = document["paths"]["/api/v1/logs"]["get"]["responses"]["200"]
    assert {"X-RateLimit-Limit", "RateLimit", "X-Request-ID"} <= set(ok["headers"])
    assert {"401", "429", "503"} <= set(document["paths"]["/api/v1/log"]["post"]["responses"])
    assert "415" in document["paths"]["/api/v1/log"]["post"]["responses"]
    assert "401" not in document["paths"]["/api/v1/register"]["post"]["responses"]


async def test_the_document_is_valid_by_its_own_rules(house: House) -> None:
    """As a tool reads it that tests APIs from their documents."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(await read(house))
    schema.config.output.sanitization.update(enabled=False)
    assert sum(1 for _ in schema.get_all_operations()) >= 14
    schema.validate()


async def test_an_unchanged_document_is_not_sent_again(house: House) -> None:
    first = await house.ask("GET", "/openapi.json")
    etag = first.get("etag") or ""
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    for wanted in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await house.ask("GET", "/openapi.json", ("If-None-Match", wanted))
        assert (again.status, again.body, again.get("etag")) == (304, b"", etag)
    assert (await house.ask("GET", "/openapi.json", ("If-None-Match", '"other"'))).status == 200
    house.tick(61)
    assert (await house.ask("GET", "/openapi.json")).get("etag") == etag


async def test_a_service_that_is_away_keeps_its_description(house: House) -> None:
    before = await read(house)
    house.services["ingest"].act = None
    house.services["ingest"].error = OSError("away")
    house.tick(61)
    assert await read(house) == before


async def test_half_a_document_is_not_given_out(house: House) -> None:
    act, house.services["ingest"].act = house.services["ingest"].act, None
    house.services["ingest"].error = OSError("away")
    answer = await house.ask("GET", "/openapi.json")
    assert answer.status == 503
    assert "ingest" in answer.json["detail"]
    house.services["ingest"].act = act
    assert (await house.ask("GET", "/openapi.json")).status == 200


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/registry", "GET, HEAD, OPTIONS"),
        ("/registry/", "GET, HEAD, OPTIONS"),
        ("/api/v1/log", "OPTIONS, POST"),
        ("/api/v1/logs/0198", "GET, HEAD, OPTIONS"),
        ("/registry/models/openai/gpt-4o", "GET, HEAD, OPTIONS"),
        ("/api/v1/receipts/verify", "OPTIONS, POST"),
    ],
)
async def test_options_tells_the_methods_without_a_key(house: House, path: str, allow: str) -> None:
    answer = await house.ask("OPTIONS", path)
    assert (answer.status, answer.get("allow"), answer.body) == (204, allow, b"")


@pytest.mark.parametrize("path", ["/nowhere", "/registry/nowhere/at/all", "/internal/secret", "/elsewhere"])
async def test_options_finds_nothing_where_nothing_is(house: House, path: str) -> None:
    assert (await house.ask("OPTIONS", path)).status == 404


async def test_a_real_service_behind_answers_both_slash_forms_and_problems(house: House) -> None:
    key = ("X-API-Key", house.new_key())
    for path in ("/registry", "/registry/", "/registry.json/"):
        assert (await house.ask("GET", path + "?version=")).json == {"version": "x"}
    assert (await house.ask("POST", "/api/v1/log/", key, body=b'{"name":"n"}')).json == {"name": "n"}
    assert (await house.ask("POST", "/api/v1/log", key, body=b'{"name":7}')).status == 422
    assert (await house.ask("POST", "/api/v1/log", key, body=b"{")).status == 400
    wrong = await house.ask("DELETE", "/api/v1/log", key)
    assert (wrong.status, wrong.get("allow")) == (405, "POST, OPTIONS")
    assert (await house.ask("GET", "/registry/nowhere/at/all/x")).status == 404


async def test_the_page_brings_everything_and_runs_nothing_else(house: House) -> None:
    answer = await house.ask("GET", "/docs")
    assert (answer.status, answer.get("content-type")) == (200, "text/html; charset=utf-8")
    page = answer.body.decode()
    assert not re.search(r"https?://", page)
    assert not re.search(r"\son\w+=|\sstyle=|javascript:|innerHTML|eval\(", page)
    policy = answer.get("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


async def test_the_page_is_put_together_from_its_files_only(house: House) -> None:
    page = (await house.ask("GET", "/docs")).body.decode()
    assert "/*script*/" not in page
    assert "/*style*/" not in page
    assert page.startswith("<!doctype html>\n<html lang=")


@pytest.mark.skipif(shutil.which("node") is None, reason="the page's script is tried by node")
async def test_the_pages_script_renders_the_document(house: House, tmp_path: Path) -> None:
    page = (await house.ask("GET", "/docs")).body.decode()
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (tmp_path / "docs.js").write_text(script)
    (tmp_path / "openapi.json").write_bytes((await house.ask("GET", "/openapi.json")).body)
    stage = Path(__file__).with_name("page_stage.js")
    node = await asyncio.create_subprocess_exec(
        "node", str(stage), str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(node.communicate(), 60)
    assert node.returncode == 0, errors.decode()
    shown = msgspec.json.decode(out)
    assert shown["title"] == "LLMRing API 1.2.3"
    assert shown["state"] == f"{shown['operations']} operations"
    assert shown["operations"] >= 14
    assert "POST /api/v1/log" in shown["summaries"]
    assert shown["opened"]["fields"] == ["name *"]
    assert msgspec.json.decode(shown["opened"]["body"]) == {"name": ""}
    assert shown["sent"] == {
        "url": "/api/v1/log",
        "method": "POST",
        "headers": {"X-API-Key": "llmr_pk_x", "Content-Type": "application/json"},
    }
    assert "0.00000003750000000001" in shown["answer"]
    assert shown["filtered"] == "1 operations"
