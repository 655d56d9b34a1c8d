import asyncio
import gzip
import hashlib
from decimal import Decimal
from typing import Any

import pytest

from services.registry.conditional import choose_coding, find_match
from shared.contracts.registry import CAPABILITIES
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import Running, Start, exact


async def keys(registry: Running, path: str) -> list[str]:
    answer = await registry.get(path)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["models"])


@pytest.mark.parametrize("path", ["/registry", "/registry/", "/registry.json"])
async def test_the_registry_is_served_at_each_of_its_paths(card: Running, path: str) -> None:
    answer = await card.get(path)
    assert answer.status_code == 200
    body = exact(answer)
    assert body["version"] == "2026.11.02"
    assert body["generated_at"] == "2026-11-02T12:00:00Z"
    assert list(body["models"]) == sorted(CARD)
    assert body["providers"] == {
        name: {"name": name, "base_url": None, "models_endpoint": None} for name in ("acme", "globex")
    }
    quill = body["models"]["acme:quill-1"]
    assert quill["dollars_per_million_tokens_cached_input"] == Decimal("0.3")
    assert quill["service_tiers"]["batch"]["dollars_per_million_tokens_cached_input"] == Decimal("0.15")


async def test_a_model_has_every_field_of_the_specification_and_both_names_of_its_limit(
    card: Running,
) -> None:
    await card.must_publish({"provider": "acme", "model_name": "wide", "max_context": 128000})
    wide = (await card.get("/registry")).json()["models"]["acme:wide"]
    assert wide == {
        "provider": "acme",
        "model_name": "wide",
        "display_name": "wide",
        "description": None,
        "model_aliases": [],
        "max_context": 128000,
        "max_input_tokens": 128000,
        "max_output_tokens": None,
        "supports_vision": False,
        "supports_function_calling": False,
        "supports_json_mode": False,
        "supports_parallel_tool_calls": False,
        "tool_call_format": None,
        "dollars_per_million_tokens_input": None,
        "dollars_per_million_tokens_output": None,
        "is_active": True,
        "inactive_from": None,
        "created_at": "2026-11-02T12:00:00Z",
        "updated_at": "2026-11-02T12:00:00Z",
    }


async def test_tiny_prices_keep_all_their_digits_in_plain_notation(registry: Running) -> None:
    await registry.must_publish(make_model("dust", input="0.0000000375", output="0.1234567890123456789"))
    text = (await registry.get("/registry")).text
    assert '"dollars_per_million_tokens_input":0.0000000375,' in text
    assert '"dollars_per_million_tokens_output":0.1234567890123456789,' in text


async def test_filters_leave_out_other_providers_and_models_that_cannot(card: Running) -> None:
    await card.must_publish(
        make_model("eye", supports_vision=True),
        make_model("all", supports_vision=True, supports_json_mode=True, supports_streaming=True),
        make_model("eye", "globex", supports_vision=True, is_reasoning_model=True),
    )
    assert await keys(card, "/registry?providers=globex") == ["globex:eye", "globex:quill-1"]
    assert await keys(card, "/registry?capabilities=vision") == ["acme:all", "acme:eye", "globex:eye"]
    assert await keys(card, "/registry?capabilities=vision,json_mode,streaming") == ["acme:all"]
    assert await keys(card, "/registry?providers=acme&capabilities=vision") == ["acme:all", "acme:eye"]
    assert await keys(card, "/registry?capabilities=reasoning") == ["globex:eye"]
    assert await keys(card, "/registry?providers=%20GLOBEX%20,,nobody&capabilities=Vision") == ["globex:eye"]
    assert await keys(card, "/registry?providers=nobody") == []
    assert len(await keys(card, "/registry?providers=&capabilities=&version=")) == len(CARD) + 3
    answer = await card.get("/registry?providers=globex")
    assert list(answer.json()["providers"]) == ["globex"]


async def test_a_filtered_model_has_the_same_bytes_as_in_the_whole(card: Running) -> None:
    whole = (await card.get("/registry")).text
    part = (await card.get("/registry?providers=globex")).text
    model = part[part.index('"globex:quill-1":') : part.index('},"providers"')]
    assert model in whole


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/registry?capabilities=vision,telepathy", 422, "capabilities"),
        ("/registry?version=1999.01.01", 404, None),
        ("/registry?version=latest", 422, "version"),
        ("/registry?version=2026.02.30", 422, "version"),
        ("/registry?version=2026.11.02.1", 422, "version"),
        ("/registry?active=perhaps", 422, "active"),
        ("/registry/v/1999.01.01/registry.json", 404, None),
        ("/registry/v/2026.11.02.2/registry.json", 404, None),
        ("/registry/v/v1/registry.json", 422, "version"),
        ("/registry/v/%00/registry.json", 422, "version"),
        ("/registry/v/2026.11.02%0a/registry.json", 422, "version"),
        ("/registry?providers=%00%ff", 200, None),
        ("/registry?capabilities=" + "x" * 5000, 422, "capabilities"),
    ],
)
async def test_a_question_that_makes_no_sense_is_told_so(
    card: Running, path: str, status: int, field: str | None
) -> None:
    answer = await card.get(path)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert [each["field"] for each in answer.json()["errors"]] == [field]


async def test_an_unknown_capability_is_answered_with_those_that_are_known(card: Running) -> None:
    detail = (await card.get("/registry?capabilities=telepathy")).json()["detail"]
    assert all(name in detail for name in CAPABILITIES)


async def test_retired_models_stay_listed_unless_they_are_asked_to_be_left_out(card: Running) -> None:
    old = (await card.get("/registry")).json()["models"]["acme:old-1"]
    assert old["is_active"] is False
    assert old["inactive_from"] == "2026-11-02T12:00:00Z"
    active = await keys(card, "/registry?active=true")
    assert "acme:old-1" not in active
    assert len(active) == len(CARD) - 1
    assert await keys(card, "/registry?active=false") == sorted(CARD)
    assert await keys(card, "/registry?include_inactive=true") == sorted(CARD)


async def test_an_empty_registry_says_that_nothing_was_published_yet(registry: Running) -> None:
    assert (await registry.get("/registry")).status_code == 404
    assert (await registry.get("/registry/versions")).json() == {"versions": []}


async def tag(registry: Running, path: str, **headers: str) -> str:
    return (await registry.get(path, **headers)).headers["etag"]


async def test_each_filter_has_its_own_tag_and_order_makes_no_difference(card: Running) -> None:
    whole = await tag(card, "/registry")
    acme = await tag(card, "/registry?providers=acme")
    others = [
        await tag(card, f"/registry?{query}")
        for query in ("providers=acme&capabilities=vision", "active=true", "capabilities=vision")
    ]
    assert len({whole, acme, *others}) == 5
    both = await tag(card, "/registry?providers=globex,acme")
    assert both == await tag(card, "/registry?providers=acme,globex")
    assert both == await tag(card, "/registry?providers=acme, globex,acme")
    assert both != whole
    assert (await card.get("/registry?providers=acme", if_none_match=whole)).status_code == 200


async def test_a_client_that_has_the_content_gets_304_with_its_headers_and_no_body(card: Running) -> None:
    first = await card.get("/registry?providers=acme")
    etag = first.headers["etag"]
    for condition in (etag, f"W/{etag}", f'"x", {etag}', f'W/"y" , W/{etag},"z"', "*"):
        again = await card.get("/registry?providers=acme", if_none_match=condition)
        assert again.status_code == 304, condition
        assert again.content == b""
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == "public, max-age=3600"
        assert again.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in again.headers
    for condition in ('"x"', etag.strip('"'), '""', "", "W/", '"', "x" * 3000):
        assert (await card.get("/registry?providers=acme", if_none_match=condition)).status_code == 200


async def test_a_new_version_on_the_same_day_has_a_new_tag(card: Running) -> None:
    before = await tag(card, "/registry")
    assert await card.must_publish(make_model("new", input="1", output="1")) == "2026.11.02.2"
    answer = await card.get("/registry", if_none_match=before)
    assert answer.status_code == 200
    assert answer.headers["etag"] != before
    assert "acme:new" in answer.json()["models"]


async def test_each_coding_has_its_own_strong_tag_and_either_is_known_again(card: Running) -> None:
    identity = await card.get("/registry", accept_encoding="identity")
    packed = await card.get("/registry", accept_encoding="gzip")
    assert "content-encoding" not in identity.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert identity.content == packed.content  # the client has unpacked it
    assert identity.headers["etag"] != packed.headers["etag"]
    assert not packed.headers["etag"].startswith("W/")
    assert identity.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert int(packed.headers["content-length"]) < len(identity.content) / 5
    for have in (identity, packed):
        for accept in ("gzip", "identity"):
            again = await card.get("/registry", if_none_match=have.headers["etag"], accept_encoding=accept)
            assert (again.status_code, again.headers["etag"]) == (304, have.headers["etag"])


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip", "gzip"),
        ("br;q=1, GZIP;q=0.5", "br"),
        ("br;q=0.2, GZIP;q=0.5", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0, br;q=0.001", "br"),
        ("*", "gzip"),
        ("x-gzip", "gzip"),
        ("", None),
        ("deflate", None),
        ("gzip;q=0", None),
        ("gzip; q=0.0, *", None),
        ("*;q=0", None),
        ("gzip;q=much", None),
        ("gzip;q=nan", None),
        ("gzip;q=1e9", None),
        (",;,=", None),
    ],
)
def test_the_coding_is_the_best_of_those_that_the_client_takes(header: str, coding: str | None) -> None:
    assert choose_coding(header) == coding


def test_the_first_of_the_tags_that_is_named_is_the_match() -> None:
    assert find_match('"b", "a"', ("a", "b")) == "a"
    assert find_match(" * ", ("a", "b")) == "a"
    assert find_match('"c"', ("a", "b")) is None


async def test_a_pinned_version_is_the_same_bytes_and_tag_for_ever(start: Start) -> None:
    first: Running = await start()
    await first.must_publish(*CARD.values())
    path = "/registry/v/2026.11.02/registry.json"
    pinned = await first.get(path, accept_encoding="identity")
    packed = await first.get(path, accept_encoding="gzip")
    assert pinned.headers["cache-control"] == "public, max-age=31536000, immutable"
    await first.must_publish(make_model("new", input="1", output="1"))
    second: Running = await start()
    for running in (first, second):
        again = await running.get(path, accept_encoding="identity")
        assert again.content == pinned.content
        assert again.headers["etag"] == pinned.headers["etag"]
        assert (await running.get(path, accept_encoding="gzip")).headers["etag"] == packed.headers["etag"]
        assert (await running.get("/registry?version=2026.11.02", accept_encoding="identity")).content == (
            pinned.content
        )
    listed = (await second.get("/registry/versions")).json()["versions"]
    assert [each["version"] for each in listed] == ["2026.11.02.2", "2026.11.02"]
    assert listed[1]["digest"] == hashlib.sha256(pinned.content).hexdigest()
    assert listed[1]["models"] == len(CARD)
    assert listed[1]["effective_from"] == "2026-11-02T12:00:00Z"
    async with second.database.connection() as connection:
        stored = await connection.fetchval("SELECT body FROM registry.versions WHERE ordinal = 1")
    assert stored == pinned.content


async def test_the_compressed_bytes_are_the_content(card: Running) -> None:
    scope_headers = {"accept-encoding": "gzip"}
    async with card.client.stream("GET", "/registry", headers=scope_headers) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert gzip.decompress(raw) == (await card.get("/registry", accept_encoding="identity")).content


async def test_what_one_process_published_another_one_serves(start: Start) -> None:
    one: Running = await start()
    other: Running = await start()
    await one.must_publish(*CARD.values())
    assert (await other.get("/registry")).json()["version"] == "2026.11.02"
    await one.must_publish(make_model("new"))
    assert (await other.get("/registry")).json()["version"] == "2026.11.02.2"
    assert await other.versions() == ["2026.11.02.2", "2026.11.02"]


async def test_the_registry_answers_from_memory_while_the_database_is_away(card: Running) -> None:
    before = await card.get("/registry")
    await card.database.close()
    after = await card.get("/registry")
    assert after.status_code == 200
    assert after.content == before.content
    assert (await card.get("/registry/v/2026.11.01/registry.json")).status_code == 404
    assert (await card.publish(make_model("new"))).status_code == 503


async def test_many_readers_at_once_get_the_same(card: Running) -> None:
    paths = ["/registry", "/registry?providers=acme", "/registry/v/2026.11.02/registry.json"] * 10
    answers = await asyncio.gather(*(card.get(path) for path in paths))
    for index, path in enumerate(paths[:3]):
        del path
        assert len({answer.content for answer in answers[index::3]}) == 1


async def test_the_openapi_document_describes_reading_and_publishing(registry: Running) -> None:
    document: Any = (await registry.get("/internal/openapi.json")).json()
    publish = document["paths"]["/registry/versions"]["post"]
    body = publish["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["models"]
    for reference in (body["properties"]["models"]["items"]["$ref"],):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    model = document["components"]["schemas"]["Model"]
    price = model["properties"]["dollars_per_million_tokens_input"]
    assert [each["type"] for each in price["oneOf"]] == ["number", "null"]
    for path, operations in document["paths"].items():
        assert "304" in operations["get"]["responses"], path
