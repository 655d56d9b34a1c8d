"""What is answered without the framework is answered as with it; and what is kept in memory has an end."""

from itertools import product
from typing import Any

import cramjam
import msgspec
import pytest

from services.registry.edition import Edition, EditionCache
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import Running, Start

CODINGS = ("", "identity", "gzip", "br", "zstd", "gzip;q=0.5, br", "*;q=0")


@pytest.fixture
async def steady(start: Start) -> Running:
    """A registry that knows for a while that its list of versions is fresh, as in production."""
    running: Running = await start(recheck_s=60.0)
    await running.must_publish(*CARD.values())
    await running.get("/registry")  # now it is at hand
    return running


def shown(answer: Any) -> Any:
    return answer.status_code, sorted(answer.headers.items()), answer.content


@pytest.mark.parametrize("path", ["/registry", "/registry/", "/registry.json"])
async def test_the_fast_answer_is_the_one_of_the_handler(steady: Running, path: str) -> None:
    tag = (await steady.get(path, accept_encoding="gzip")).headers["etag"]
    conditions = ("", tag, f'"x", W/{tag}', "*", '"x"', "x" * 3000)
    for coding, condition in product(CODINGS, conditions):
        asked = {"accept_encoding": coding, "if_none_match": condition}
        by_handler = await steady.get("/registry?active=false", **asked)
        for _ in range(2):  # the second time it is prepared
            assert shown(await steady.get(path, **asked)) == shown(by_handler), asked


async def test_several_headers_of_one_name_are_one_list(steady: Running) -> None:
    tag = (await steady.get("/registry", accept_encoding="br")).headers["etag"]
    headers = [("accept-encoding", "identity;q=0.1"), ("accept-encoding", "br")]
    answer = await steady.client.get("/registry", headers=headers)
    assert answer.headers["etag"] == tag
    conditions = [*headers, ("if-none-match", '"x"'), ("if-none-match", tag)]
    assert (await steady.client.get("/registry", headers=conditions)).status_code == 304


async def test_the_fast_answer_is_of_the_newest_version_at_once(steady: Running) -> None:
    for number in range(3):
        before = await steady.get("/registry")
        await steady.must_publish(make_model(f"new-{number}"))
        after = await steady.get("/registry", if_none_match=before.headers["etag"])
        assert f"acme:new-{number}" in after.json()["models"]


async def test_many_different_headers_do_not_change_the_answer(steady: Running) -> None:
    whole = await steady.get("/registry")
    for number in range(600):
        answer = await steady.get("/registry", if_none_match=f'"{number}"')
        assert answer.status_code == 200
    assert shown(answer) == shown(whole)


async def test_other_methods_are_refused_as_everywhere(steady: Running) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await steady.client.request(method, "/registry", content=b"{}")
        assert answer.status_code == 405
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_parameter_twice_is_a_list_or_a_fault(steady: Running) -> None:
    both = await steady.get("/registry?providers=acme&providers=globex")
    assert both.headers["etag"] == (await steady.get("/registry?providers=globex,acme")).headers["etag"]
    none = await steady.get("/registry?capabilities=vision&capabilities=thinking")
    assert none.json()["models"] == {}
    for query in ("version=2026.11.02&version=2026.11.02", "active=true&active=false"):
        answer = await steady.get(f"/registry?{query}")
        assert answer.status_code == 422, query
        assert [each["field"] for each in answer.json()["errors"]] == [query.partition("=")[0]]


async def test_providers_that_there_are_not_make_no_new_answer(steady: Running) -> None:
    acme = await steady.get("/registry?providers=acme")
    other = await steady.get("/registry?providers=acme,nobody")
    assert shown(other) == shown(acme)
    nobody = await steady.get("/registry?providers=nobody")
    assert nobody.json()["models"] == nobody.json()["providers"] == {}
    assert nobody.headers["etag"] != (await steady.get("/registry")).headers["etag"]


def test_the_cache_keeps_what_was_used_last_and_no_more_bytes_than_it_may() -> None:
    cache = EditionCache(10_000)
    for number in range(100):
        cache.keep(number, Edition(b"x" * 1000, str(number)))
        assert cache.find(0 if number < 50 else number) is not None
    assert cache.find(0) is None
    assert sum(cache.find(number) is not None for number in range(100)) == 4
    cache.keep("large", Edition(b"x" * 20_000, "large"))
    assert cache.find("large") is None
    cache.keep("small", Edition(b"", "small"))
    assert cache.find("small") is not None


async def test_a_large_registry_is_read_filtered_compared_and_unpacked_alike(start: Start) -> None:
    registry: Running = await start(recheck_s=60.0)
    words = "word " * 150
    models = [
        make_model(f"m-{number}", f"p{number % 7}", input="1", description=f"{words}{number}")
        for number in range(500)
    ]
    first = await registry.must_publish(*models)
    retired = [msgspec.structs.replace(model, is_active=False) for model in models[:70]]
    second = await registry.must_publish(*retired)
    whole = (await registry.get("/registry")).json()["models"]
    assert len(whole) == 500
    for query in ("", "active=true", "providers=p0,p1&active=true", "providers=p3"):
        plain = await registry.get(f"/registry?{query}", accept_encoding="identity")
        for coding, unpack in (
            ("gzip", cramjam.gzip.decompress),
            ("br", cramjam.brotli.decompress),
            ("zstd", cramjam.zstd.decompress),
        ):
            headers = {"accept-encoding": coding}
            async with registry.client.stream("GET", f"/registry?{query}", headers=headers) as answer:
                packed = b"".join([chunk async for chunk in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == coding
            assert len(packed) < len(plain.content) / 10
            assert bytes(unpack(packed)) == plain.content
        wanted = {
            key
            for key, model in whole.items()
            if (model["is_active"] or "active" not in query)
            and (model["provider"] in query or "providers" not in query)
        }
        assert set(plain.json()["models"]) == wanted
    told = (await registry.get(f"/registry/diff?from={first}&to={second}")).json()["changes"]
    assert {(change["model"], change["type"]) for change in told if change["field"] == "is_active"} == {
        (f"p{number % 7}:m-{number}", "model.deprecated") for number in range(70)
    }
    bodies = [
        (await registry.get(f"/registry/v/{version}/registry.json")).content for version in (first, second)
    ]
    entries = [body[body.index(b'"p0:m-490"') : body.index(b'"p0:m-497"')] for body in bodies]
    assert entries[0] == entries[1]
