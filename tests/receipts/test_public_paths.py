"""What anybody may ask: is this receipt true, and by which keys (cases P37, B8)."""

import asyncio
import base64
import json
from typing import Any

import pytest
from litestar.types import ASGIApp
from nacl.signing import SigningKey as StrangersKey

from shared.errors import MalformedRequestError, TooLargeError
from tests.receipts.house import House, Street, a_rated, a_slice

VERIFY = "/api/v1/receipts/verify"
BAD = {"valid": False, "reason": "bad_signature"}


@pytest.fixture
async def receipt(house: House) -> dict[str, Any]:
    await house.issuer.issue_receipts(a_slice([a_rated()]))
    found: dict[str, Any] = (await house.get("/api/v1/receipts"))["receipts"][0]
    return found


async def verdict(house: House, shown: object) -> Any:
    return await house.post(VERIFY, shown, account=None)


async def test_a_good_receipt_is_valid_however_it_is_laid_out(house: House, receipt: dict[str, Any]) -> None:
    good = {"valid": True, "key_status": "current"}
    assert await verdict(house, receipt) == good
    turned = {name: receipt[name] for name in sorted(receipt, reverse=True)}
    turned["payload"] = {name: receipt["payload"][name] for name in sorted(receipt["payload"], reverse=True)}
    assert await verdict(house, json.dumps(turned, indent=4, ensure_ascii=False).encode()) == good
    answer = await house.post("/api/v1/receipts", {"log_id": receipt["payload"]["log_id"]})
    assert await verdict(house, answer) == good


def changed(value: Any) -> list[Any]:
    if value is None:
        return ["", 0, False]
    if isinstance(value, str):
        return [value + "0", value[1:], None, [value]]
    if isinstance(value, int):
        return [value + 1, -value - 1, str(value), float(value), None]
    return [None, value[1:], [value]]


async def test_every_changed_removed_renamed_or_added_fact_fails(
    house: House, receipt: dict[str, Any]
) -> None:
    assert len(receipt["payload"]) == 39
    for name, value in receipt["payload"].items():
        for other in changed(value):
            shown = receipt | {"payload": receipt["payload"] | {name: other}}
            assert (await verdict(house, shown))["valid"] is False, (name, other)
        rest = {key: fact for key, fact in receipt["payload"].items() if key != name}
        for payload in (rest, rest | {name.title(): value}):
            assert (await verdict(house, receipt | {"payload": payload}))["valid"] is False, name
    for line in range(3):
        for part in ("kind", "tokens", "usd", "usd_per_million"):
            shown = json.loads(json.dumps(receipt))
            shown["payload"]["cost_breakdown"][line][part] = "1"
            assert await verdict(house, shown) == BAD
    for name in receipt:
        assert (await verdict(house, receipt | {name: "x"}))["valid"] is False


async def test_forged_receipts_never_pass(house: House, receipt: dict[str, Any]) -> None:
    dearer = receipt | {"payload": receipt["payload"] | {"cost": "99"}}
    assert await verdict(house, dearer) == BAD
    stranger = StrangersKey(bytes([9]) * 32)
    text = json.dumps(dearer["payload"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    resigned = dearer | {"signature": base64.b64encode(stranger.sign(text.encode()).signature).decode()}
    assert await verdict(house, resigned) == BAD
    own_key = {"public_key": base64.b64encode(bytes(stranger.verify_key)).decode()}
    assert await verdict(house, resigned | own_key) == BAD
    for extra in ({"note": "x"}, {"Cost": "1"}, {"key_url": "http://169.254.169.254/"}):
        assert await verdict(house, receipt | extra) == BAD
        assert await verdict(house, receipt | {"payload": receipt["payload"] | extra}) == BAD
    unknown = receipt | {"key_id": "k9", "payload": receipt["payload"] | {"key_id": "k9"}}
    assert await verdict(house, unknown) == {"valid": False, "reason": "unknown_key"}


async def test_a_receipt_makes_nobody_ask_elsewhere_for_its_key(
    house: House, receipt: dict[str, Any]
) -> None:
    """Case P37 (8)."""
    callers: list[object] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername"))
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        url = "http://{}:{}/".format(*server.sockets[0].getsockname())
        for name in ("key_url", "jku", "x5u", "key_id", "algorithm", "receipt_id"):
            for shown in (
                receipt | {name: url},
                receipt | {"payload": receipt["payload"] | {name: url}},
                receipt | {name: url, "payload": receipt["payload"] | {name: url}},
            ):
                assert (await verdict(house, shown))["valid"] is False
    assert callers == []


async def test_a_member_that_stands_twice_is_found_in_the_raw_text(
    house: House, receipt: dict[str, Any]
) -> None:
    text = json.dumps(receipt)
    for twice in ('"cost": "9", ', '"c\\u006fst": "9", '):
        raw = text.replace('"cost": ', twice + '"cost": ', 1).encode()
        with pytest.raises(MalformedRequestError, match="duplicate_key"):
            await verdict(house, raw)


async def test_incomplete_receipts_are_never_valid(house: House, receipt: dict[str, Any]) -> None:
    unsigned = {name: value for name, value in receipt.items() if name != "signature"}
    for shown in (b"{}", b"null", b"[]", b'"x"', b"1", json.dumps(unsigned).encode()):
        assert await verdict(house, shown) == {"valid": False, "reason": "malformed"}
    good = receipt["signature"]
    for signature in (
        "",
        good + " ",
        good[:40] + " " + good[40:],
        good.replace("+", "-").replace("/", "_").rstrip("="),
        base64.b64encode(base64.b64decode(good)[:63]).decode(),
    ):
        assert await verdict(house, receipt | {"signature": signature}) == BAD


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff\xfe", b"{", b"[" * 60_000, b'{"a": NaN}', b"9" * 6000, b"\x00"],
    ids=lambda raw: repr(raw[:8]),
)
async def test_what_is_no_json_is_malformed(house: House, raw: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        await verdict(house, raw)


async def test_what_is_too_long_for_a_receipt_is_refused(house: House) -> None:
    with pytest.raises(TooLargeError):
        await verdict(house, b'"' + b"x" * 70_000 + b'"')


async def test_the_keys_are_cached_by_their_content(street: Street, house: House) -> None:
    for name in ("public-keys.json", "public-key.pem", "jwks.json"):
        path = f"/api/v1/receipts/{name}"
        answer = await house.call("GET", path, account=None)
        headers = dict(answer.headers)
        assert headers[b"cache-control"] == b"max-age=300, public"
        etag = headers[b"etag"].decode()
        for asked in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            again = await house.call("GET", path, account=None, headers={"If-None-Match": asked})
            assert (again.status, again.body, dict(again.headers)[b"etag"].decode()) == (304, b"", etag)
        seed = base64.b64encode(bytes([len(path)]) * 32).decode()
        await street.open_house(signing_seed=seed)
        fresh = await house.call("GET", path, account=None, headers={"If-None-Match": etag})
        assert (fresh.status, fresh.body == answer.body) == (200, False)


async def test_the_pem_holds_the_current_key(house: House) -> None:
    answer = await house.call("GET", "/api/v1/receipts/public-key.pem", account=None)
    assert dict(answer.headers)[b"content-type"].startswith(b"application/x-pem-file")
    begin, body, end = answer.body.decode().splitlines()
    assert (begin, end) == ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----")
    assert base64.b64decode(body)[-32:] == house.signer.key.public_key


async def test_the_paths_are_described(house: House) -> None:
    app: ASGIApp | None = house.service.app
    assert app is not None
    document = await house.get("/internal/openapi.json", account=None)
    paths = document["paths"]
    assert set(paths) == {
        "/api/v1/receipts",
        "/api/v1/receipts/{receipt_id}",
        "/api/v1/receipts/verify",
        "/api/v1/receipts/public-keys.json",
        "/api/v1/receipts/public-key.pem",
        "/api/v1/receipts/jwks.json",
        "/api/v1/receipts/{receipt_id}/proof",
        "/api/v1/receipts/{receipt_id}/audit",
        "/api/v1/receipts/{receipt_id}/statement.csv",
        "/api/v1/receipts/{receipt_id}/statement.html",
        "/api/v1/receipts/{receipt_id}/bundle",
        "/api/v1/receipts/checkpoint",
        "/api/v1/receipts/consistency",
        "/api/v1/receipts/tile/{name}",
        "/api/v1/receipts/verifier-keys.txt",
        "/api/v1/receipts/witnesses",
        "/api/v1/receipts/cosignatures",
    }
    body = paths["/api/v1/receipts"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "input_tokens" in body["oneOf"][0]["properties"]
    assert set(body["oneOf"][1]["properties"]) == {"log_id"}
    assert set(body["oneOf"][2]["properties"]) == {"start_date", "end_date"}
