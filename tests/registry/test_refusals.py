"""What a publish is refused for, and that nothing of it is stored then."""

from typing import Any

import msgspec

from services.registry.snapshot import show_model
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import Running

IN = "dollars_per_million_tokens_input"
OUT = "dollars_per_million_tokens_output"


REFUSED_PRICES = {
    b"-1": 422,
    b"-0.000001": 422,
    b"NaN": 400,
    b"Infinity": 400,
    b"1e400": 422,
    b"1e999999999999999999999": 422,
    b"1e30": 422,
    b"1000000.01": 422,
    b"1" * 500: 422,
    b"1" * 5000: 422,
    b"0." + b"1" * 31: 422,
    b'"3.00"': 422,
    b'"NaN"': 422,
    b"true": 422,
    b"[3]": 422,
    b"{}": 422,
    b"0.000003": 422,
    b"300": 422,
    b"30.01": 422,
    b"0.2999": 422,
    b"0": 422,
}
TAKEN_PRICES = {b"30": 201, b"3.0e0": 201, b"3": 200, b"3.0000": 200, b"0.3": 201, b"null": 201}


async def test_a_poisoned_price_makes_no_new_version(card: Running) -> None:
    for price, status in REFUSED_PRICES.items():
        entry = show_model(CARD["acme:quill-1"]) | {IN: msgspec.Raw(price)}
        answer = await card.publish(entry)
        assert answer.status_code == status, (price, answer.text)
        if status == 422:
            fields = [each["field"] for each in answer.json()["errors"]]
            assert fields in ([f"models[0].{IN}"], ["body"]), price
    assert await card.versions() == ["2026.11.02"]


async def test_any_other_price_is_taken(card: Running) -> None:
    for price, status in TAKEN_PRICES.items():
        entry = show_model(CARD["acme:quill-1"]) | {IN: msgspec.Raw(price)}
        answer = await card.publish(entry)
        assert answer.status_code == status, (price, answer.text)


async def test_a_great_leap_is_published_once_it_is_confirmed(card: Running) -> None:
    for price in (b"0.000003", b"300", b"0"):
        entry = show_model(CARD["acme:quill-1"]) | {IN: msgspec.Raw(price)}
        refused = await card.publish(entry)
        assert "confirm: true" in refused.json()["detail"]
        assert (await card.publish(entry, confirm=True)).status_code == 201


async def test_from_zero_and_in_a_tier_are_leaps_too_but_null_is_not(card: Running) -> None:
    answer = await card.publish(make_model("half-free", input="0.01", output="2", cached="0"))
    assert [each["field"] for each in answer.json()["errors"]] == [f"models[0].{IN}"]
    tiers = {"batch": {"input": "0.10", "output": "7.50", "cached": "0.15"}}
    quill: dict[str, Any] = {
        "input": "3",
        "output": "15",
        "cached": "0.3",
        "write_5m": "3.75",
        "write_1h": "6",
    }
    answer = await card.publish(make_model("quill-1", tiers=tiers, **quill))
    assert [each["field"] for each in answer.json()["errors"]] == [f"models[0].service_tiers.batch.{IN}"]
    await card.must_publish(make_model("free-7b", input="0", output="0"))


async def test_every_bad_field_is_named_at_once(card: Running) -> None:
    body = {
        "models": [
            {"provider": "acme", "model_name": "a", IN: -1, OUT: "2", "max_context": 1.5, "is_active": "yes"},
            {"provider": "ACME"},
            7,
            {
                "provider": "acme",
                "model_name": "b",
                "deprecated_date": "2026-02-30",
                "max_input_tokens": 5,
                "max_context": 6,
                "dollars_per_million_tokens_inptu": 3,
                "dollars_per_million_tokens_input_long_context": 3,
                "service_tiers": {"batch": {IN: -1}, "standard": {}, "flex": 3},
            },
            {"provider": "acme", "model_name": "penny", IN: 55, OUT: 0.4},
            {"provider": "acme", "model_name": "penny"},
            {"provider": "acme", "model_name": "c", "model_aliases": ["quill-1"], "description": "\x00"},
            {"provider": "acme", "model_name": "d", "model_aliases": ["quill-1"]},
            {
                "provider": "acme",
                "model_name": "e",
                "dollars_per_million_tokens_cached_input": 1,
                "dollars_per_million_tokens_cache_read": 2,
                "dollars_per_million_tokens_output_long_context": 2,
            },
            {
                "provider": "acme",
                "model_name": "f",
                "dollars_per_request": 1001,
                "long_context_steps": [
                    {"above_tokens": 5, IN: -1},
                    {IN: 1},
                    {"above_tokens": 0},
                    {"above_tokens": 6},
                    {"above_tokens": 7, OUT: 1, f"{OUT}_long_context": 1},
                    3,
                ],
                "service_tiers": {"flex": {"long_context_steps": {}}},
            },
            {
                "provider": "acme",
                "model_name": "g",
                "long_context_threshold_tokens": 5,
                "long_context_pricing": "marginal",
                "long_context_steps": [{"above_tokens": 5, IN: 1}],
            },
        ],
        "mode": "append",
        "providers": {"acme": {"base_url": "ftp://x"}, "B!": {}},
        "effective_from": "soon",
        "confirm": 1,
        "dry_run": "no",
    }
    answer = await card.post(msgspec.json.encode(body))
    assert answer.status_code == 422
    assert {each["field"] for each in answer.json()["errors"]} == {
        f"models[0].{IN}",
        f"models[0].{OUT}",
        "models[0].max_context",
        "models[0].is_active",
        "models[1].provider",
        "models[1].model_name",
        "models[2]",
        "models[3].deprecated_date",
        "models[3].max_context",
        "models[3].dollars_per_million_tokens_inptu",
        f"models[3].service_tiers.batch.{IN}",
        "models[3].service_tiers.standard",
        "models[3].service_tiers.flex",
        f"models[4].{IN}",
        "models[5]",
        "models[6].description",
        "models[7].model_aliases",
        "models[8].dollars_per_million_tokens_cache_read",
        "models[8].dollars_per_million_tokens_output_long_context",
        "models[9].dollars_per_request",
        f"models[9].long_context_steps[0].{IN}",
        "models[9].long_context_steps[1].above_tokens",
        "models[9].long_context_steps[2].above_tokens",
        "models[9].long_context_steps[3]",
        f"models[9].long_context_steps[4].{OUT}_long_context",
        "models[9].long_context_steps[5]",
        "models[9].service_tiers.flex.long_context_steps",
        "models[10].long_context_steps",
        "mode",
        "providers.acme.base_url",
        "providers.B!",
        "effective_from",
        "confirm",
        "dry_run",
    }
    assert await card.versions() == ["2026.11.02"]


BAD_BODIES = [
    (b"", 400),
    (b"{", 400),
    (b"\xff\xfe", 400),
    (b"[" * 100_000, 400),
    (b'{"models":' + b"[" * 3000 + b"]" * 3000 + b"}", 400),
    (b"null", 422),
    (b"[]", 422),
    (b"3", 422),
    (b"{}", 422),
    (b'{"models":null}', 422),
    (b'{"models":[]}', 422),
    (b'{"models":{}}', 422),
    (b'{"models":"acme"}', 422),
    (b'{"models":[null]}', 422),
    (b'{"models":[{}]}', 422),
    (b'{"models":[{"provider":null,"model_name":null}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":""}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":" m"}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m\\u0000"}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"\\ud800"}]}', 400),
    (b'{"models":[{"provider":"acme","model_name":"' + b"m" * 256 + b'"}]}', 422),
    (b'{"models":[{"provider":"a:b","model_name":"m"}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","model_aliases":"x"}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","model_aliases":["x","x"]}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","model_aliases":["m"]}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","model_aliases":["acme:m"]}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","service_tiers":[]}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","service_tiers":{"night":{}}}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","max_output_tokens":-1}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","max_output_tokens":1e400}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","temperature_values":[1,"2"]}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","long_context_pricing":"half"}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","long_context_threshold_tokens":0}]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m","inactive_from":"2026-01-01T00:00:00"}]}', 422),
    (b'{"models":{"acme:x":{"provider":"acme","model_name":"m"}}}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m"}],"effective_from":17}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m"}],"effective_from":"99999-01-01"}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m"}],"effective_from":"0001-01-01"}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m"}],"effective_from":"9999-12-31"}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m"}],"providers":[]}', 422),
    (b'{"models":[{"provider":"acme","model_name":"m"}],"mode":["merge"]}', 422),
]  # fmt: skip


async def test_a_bad_request_is_told_so_and_never_breaks_anything(registry: Running) -> None:
    for body, status in BAD_BODIES:
        answer = await registry.post(body)
        assert answer.status_code == status, (body[:100], answer.text[:500])
        assert answer.headers["content-type"] == "application/problem+json"
    assert await registry.versions() == []


async def test_unknown_fields_are_ignored_and_models_may_stand_under_their_keys(registry: Running) -> None:
    entry = {"provider": "acme", "model_name": "m", "speed_tier": "fast"}
    body = {"models": {"acme:m": entry}, "mode": None, "comment": "hello"}
    assert (await registry.post(msgspec.json.encode(body))).status_code == 201
    assert "speed_tier" not in (await registry.get("/registry")).text


async def test_a_version_may_come_into_force_at_any_time_there_is(registry: Running) -> None:
    for number, instant in enumerate(("1970-01-01", "2999-12-31", "2026-01-01T00:00:00.123456789+14:00")):
        await registry.must_publish(make_model(f"m{number}"), effective_from=instant, confirm=True)
    listed = (await registry.get("/registry/versions")).json()["versions"]
    assert [each["effective_from"] for each in reversed(listed)] == [
        "1970-01-01T00:00:00Z",
        "2999-12-31T00:00:00Z",
        "2025-12-31T10:00:00.123456Z",
    ]


async def test_a_body_that_is_too_large_is_refused(registry: Running) -> None:
    answer = await registry.post(b" " * (9 * 1024 * 1024))
    assert answer.status_code == 413


async def test_an_alias_points_to_one_model(card: Running) -> None:
    taken = {"provider": "acme", "model_name": "x", "model_aliases": ["quill-1-mini-20260115"]}
    answer = await card.publish(taken)
    assert [each["field"] for each in answer.json()["errors"]] == ["models[0].model_aliases"]
    assert "acme:quill-1-mini" in answer.json()["detail"]
    own_entry = {"provider": "acme", "model_name": "quill-1-mini-20260115"}
    answer = await card.publish(own_entry)
    assert [each["field"] for each in answer.json()["errors"]] == ["models[0].model_name"]
    # Another provider's alias of the same name is another name, and an alias may move within one publish.
    await card.must_publish(taken | {"provider": "globex"})
    without = show_model(CARD["acme:quill-1-mini"]) | {"model_aliases": []}
    await card.must_publish(without, taken)
    await card.must_publish(taken | {"model_aliases": []}, own_entry)
