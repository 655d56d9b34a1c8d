"""`docs/api.md` and the live OpenAPI document name the same things, and its figures are the code's."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.auth.tiers import TIERS
from services.ingest.periods import MAX_DAYS_BY_DAY, MAX_PERIODS
from services.ingest.settings import IngestSettings
from services.registry.request import MAX_MODELS
from services.registry.settings import RegistrySettings
from shared.contracts import usage
from shared.contracts.receipts import MAX_RECEIPT_BYTES
from shared.money import MAX_FRACTION_DIGITS
from shared.web.problems import STATUSES
from tests.docs.pages import ROOT, get_page, list_rows
from tests.live.process import ServerProcess

_OPERATION = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]*)`")
_METHODS = ("get", "post", "put", "patch", "delete")

Operation = dict[str, Any]


def _sections() -> dict[tuple[str, str], str]:
    """The text of each operation's section, its blocks included."""
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    parts = re.split(r"^(#{2,3} .+)$", text, flags=re.MULTILINE)
    return {
        (method, path): body
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
        for method, path in _OPERATION.findall(heading)
    }


SECTIONS = _sections()


@pytest.fixture(scope="module")
def document(server: ServerProcess) -> dict[str, Any]:
    answer = httpx.get(f"{server.url}/openapi.json")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[tuple[str, str], Operation]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield (method.upper(), path), item[method]


def _resolve(schema: dict[str, Any], document: dict[str, Any]) -> list[dict[str, Any]]:
    """The object schemas that a schema may be, without their references."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return _resolve(document["components"]["schemas"][name], document)
    options = [option for key in ("oneOf", "anyOf", "allOf") for option in schema.get(key, ())]
    if options:
        return [found for option in options for found in _resolve(option, document)]
    return _resolve(schema["items"], document) if "items" in schema else [schema]


def _properties(content: dict[str, Any], document: dict[str, Any]) -> set[str]:
    schema = content.get("application/json", {}).get("schema")
    if schema is None:
        return set()
    return {name for found in _resolve(schema, document) for name in found.get("properties", ())}


def _names(section: str, name: str) -> bool:
    return f"`{name}`" in section or f'"{name}"' in section


def test_every_operation_has_its_section_and_every_section_its_operation(document: dict[str, Any]) -> None:
    assert set(SECTIONS) == {operation for operation, _ in _operations(document)}


def test_every_parameter_stands_in_its_section_and_the_other_way_round(document: dict[str, Any]) -> None:
    for operation, described in _operations(document):
        there = {each["name"] for each in described.get("parameters", ()) if each["in"] == "query"}
        listed = {row[0].strip("`") for row in list_rows(SECTIONS[operation], "parameter")}
        assert listed == there, operation


def test_every_field_of_a_request_stands_in_its_section(document: dict[str, Any]) -> None:
    for operation, described in _operations(document):
        fields = _properties(described.get("requestBody", {}).get("content", {}), document)
        missing = {name for name in fields if not _names(SECTIONS[operation], name)}
        assert not missing, operation
        listed = {row[0].strip("`") for row in list_rows(SECTIONS[operation], "field")}
        assert not listed or listed <= fields, operation


def test_every_member_of_an_answer_stands_in_its_section(document: dict[str, Any]) -> None:
    for operation, described in _operations(document):
        for status in ("200", "201"):
            content = described["responses"].get(status, {}).get("content", {})
            missing = {
                name for name in _properties(content, document) if not _names(SECTIONS[operation], name)
            }
            assert not missing, operation


def test_the_error_table_is_that_of_the_code() -> None:
    rows = list_rows(get_page("docs/api.md").prose, "kind")
    assert {(row[0].strip("`"), int(row[1])) for row in rows} == {
        (kind.value, status) for kind, (status, _) in STATUSES.items()
    }


def test_the_figures_are_those_of_the_code() -> None:
    text = " ".join(get_page("docs/api.md").prose.split())
    kib, mib = 1024, 1024 * 1024
    assert usage.MAX_LOG_BODY_BYTES == MAX_RECEIPT_BYTES == 64 * kib
    for sentence in (
        f"{usage.MAX_BATCH_BODY_BYTES // mib} MiB, {usage.MAX_BATCH_RECORDS:,} records",
        f"{RegistrySettings().max_publish_bytes // mib} MiB, {MAX_MODELS:,} models",
        f"0 to {usage.MAX_TOKENS:,}",
        f"0 to {usage.MAX_COST_USD:,}, at most {MAX_FRACTION_DIGITS} digits",
        f"0 to {usage.MAX_LATENCY_MS:,}",
        f"{usage.MAX_METADATA_BYTES // kib} KiB as sent, nested {usage.MAX_METADATA_DEPTH} deep",
        f"up to {IngestSettings().max_skew_s} seconds ahead",
        f"up to {IngestSettings().read_wait_ms} ms",
        f"More than {MAX_DAYS_BY_DAY} days by day, or more than {MAX_PERIODS:,} weeks",
        *(f"{tier.requests_per_minute:,} ({tier.name})" for tier in TIERS.values()),
    ):
        assert sentence in text
