"""What every answer and every forwarded request carries, and what passes in neither direction."""

import re

import pytest

from services.gateway.settings import GatewaySettings
from tests.gateway.conftest import LOG, House, open_house

JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize("sane", ["a", "A-b_c.9", "x" * 128, "0198c1d2-7e6f-7000-8000-000000000000"])
async def test_a_sane_request_id_is_kept(house: House, sane: str) -> None:
    answer = await house.ask("GET", "/registry", ("X-Request-ID", sane))
    assert answer.get("x-request-id") == sane
    assert house.services["registry"].last.all("x-request-id") == [sane]


@pytest.mark.parametrize(
    "foul", ["", " ", "x" * 129, "a b", "a/b", 'a"b', "a\nb", "<script>", "é", "a,b", "\x00", "a;b"]
)
async def test_any_other_request_id_is_replaced(local_house: House, foul: str) -> None:
    answer = await local_house.ask("GET", "/registry", ("X-Request-ID", foul))
    given = answer.get("x-request-id") or ""
    assert given != foul
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", given)
    assert local_house.services["registry"].last.all("x-request-id") == [given]


async def test_two_request_ids_are_none(local_house: House) -> None:
    answer = await local_house.ask("GET", "/registry", ("X-Request-ID", "a"), ("X-Request-ID", "b"))
    assert answer.get("x-request-id") not in ("a", "b", "a, b")


async def test_request_ids_are_unique(local_house: House) -> None:
    ids = [(await local_house.ask("GET", "/nowhere")).get("x-request-id") for _ in range(100)]
    assert len(set(ids)) == 100


async def test_a_services_own_request_id_does_not_win(house: House) -> None:
    house.services["registry"].headers = [(b"x-request-id", b"theirs"), (b"x-frame-options", b"ALLOWALL")]
    answer = await house.ask("GET", "/registry", ("X-Request-ID", "ours"))
    assert (answer.get("x-request-id"), answer.get("x-frame-options")) == ("ours", "DENY")


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_trace_goes_on(house: House) -> None:
    await house.ask("GET", "/registry", ("traceparent", TRACE), ("tracestate", "a=1,b=2"))
    request = house.services["registry"].last
    assert (request.all("traceparent"), request.all("tracestate")) == ([TRACE], ["a=1,b=2"])


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "nonsense",
        TRACE.upper(),
        TRACE[:-1],
        TRACE + "-x",
        TRACE.replace("00-", "ff-", 1),
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        TRACE.replace("4bf9", "4bg9"),
    ],
)
async def test_a_broken_trace_begins_anew(local_house: House, broken: str) -> None:
    await local_house.ask("GET", "/registry", ("traceparent", broken), ("tracestate", "a=1"))
    request = local_house.services["registry"].last
    [made] = request.all("traceparent")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", made)
    assert request.all("tracestate") == []


async def test_every_request_without_a_trace_gets_its_own(local_house: House) -> None:
    for _ in range(20):
        await local_house.ask("GET", "/registry")
    traces = [request.all("traceparent")[0] for request in local_house.services["registry"].requests]
    assert len({trace[3:35] for trace in traces}) == 20


async def test_headers_of_one_connection_stay_on_it(house: House) -> None:
    await house.ask(
        "POST",
        "/api/v1/receipts/verify",
        JSON,
        ("Connection", "keep-alive, X-Secret"),
        ("X-Secret", "s"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "Basic x"),
        ("Expect", "100-continue"),
        ("Accept", "application/json"),
        ("Idempotency-Key", "k"),
        ("If-None-Match", '"e"'),
        body=b"{}",
    )
    request = house.services["receipts"].last
    for name in ("x-secret", "keep-alive", "te", "trailer", "upgrade", "proxy-authorization", "expect"):
        assert request.all(name) == []
    assert request.all("accept") == ["application/json"]
    assert request.all("idempotency-key") == ["k"]
    assert request.all("if-none-match") == ['"e"']
    assert request.all("host") == ["api.test"]


@pytest.mark.parametrize(
    "nominated", ["content-length", "content-type", "host", "x-request-id", "x-llmring-principal"]
)
async def test_a_header_that_matters_cannot_be_nominated_away(house: House, nominated: str) -> None:
    key = house.new_key()
    answer = await house.ask(
        "POST", "/api/v1/log", JSON, ("X-API-Key", key), ("Connection", nominated), body=LOG
    )
    assert answer.status == 200
    request = house.services["ingest"].last
    assert request.body == LOG
    assert len(request.all(nominated)) == 1


@pytest.mark.parametrize("text", ["é", "日本 😀"])
async def test_a_header_in_utf_8_arrives_as_it_was_sent(house: House, text: str) -> None:
    key = ("X-API-Key", house.new_key())
    sent = ("Idempotency-Key", text.encode().decode("latin-1"))
    assert (await house.ask("POST", "/api/v1/log", JSON, key, sent, body=LOG)).status == 200
    (arrived,) = house.services["ingest"].last.all("idempotency-key")
    assert arrived.encode("latin-1").decode() == text


async def test_internal_headers_do_not_come_back_except_the_public_one(house: House) -> None:
    house.services["ingest"].headers = [
        (b"x-llmring-principal", b"secret"),
        (b"x-llmring-partition", b"3"),
        (b"x-llmring-complete", b"false"),
        (b"x-powered-by", b"things"),
        (b"link", b'<...>; rel="next"'),
        (b"idempotent-replayed", b"true"),
    ]
    answer = await house.post_log(house.new_key())
    assert answer.get("x-llmring-complete") == "false"
    assert answer.get("x-llmring-principal") is answer.get("x-llmring-partition") is None
    assert answer.get("x-powered-by") is None
    assert answer.get("link") == '<...>; rel="next"'
    assert answer.get("idempotent-replayed") == "true"


async def test_cookies_pass_both_ways(house: House) -> None:
    house.auth.headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    answer = await house.ask("POST", "/api/v1/register", JSON, ("Cookie", "c=3"), body=b"{}")
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert house.auth.last.all("cookie") == ["c=3"]


async def test_security_headers(house: House) -> None:
    answer = await house.ask("GET", "/registry")
    assert answer.get("x-content-type-options") == "nosniff"
    assert answer.get("referrer-policy") == "no-referrer"
    assert answer.get("x-frame-options") == "DENY"
    assert answer.get("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
    house.services["registry"].headers = [(b"content-security-policy", b"default-src 'self'")]
    assert (await house.ask("GET", "/registry")).get("content-security-policy") == "default-src 'self'"


async def test_strict_transport_is_asked_for_over_https_alone() -> None:
    proxy, stranger = "10.1.2.3", "198.51.100.1"
    async with open_house(settings=GatewaySettings(trusted_proxies=("10.0.0.0/8",))) as house:
        house.services["registry"].headers = [(b"strict-transport-security", b"max-age=0")]
        for target in ("/registry", "/health/live", "/nowhere", "/api/v1/stats"):
            for scheme, peer, told, is_strict in [
                ("https", stranger, None, True),
                ("https", proxy, "http", True),
                ("http", proxy, "https", True),
                ("http", proxy, "HTTPS", True),
                ("http", proxy, "http", False),
                ("http", proxy, "https, http", False),
                ("http", proxy, None, False),
                ("http", stranger, "https", False),
            ]:
                headers = [] if told is None else [("X-Forwarded-Proto", told)]
                answer = await house.ask("GET", target, *headers, peer=peer, scheme=scheme)
                strict = answer.get("strict-transport-security")
                assert strict == ("max-age=31536000" if is_strict else None), (target, scheme, peer, told)
        assert house.services["registry"].last.all("x-forwarded-proto") == []


async def test_answers_to_a_key_are_not_stored_unless_the_service_says_so(house: House) -> None:
    key = ("X-API-Key", house.new_key())
    assert (await house.ask("GET", "/registry")).get("cache-control") is None
    assert (await house.ask("GET", "/registry", key)).get("cache-control") == "no-store"
    assert (await house.ask("GET", "/api/v1/stats", key)).get("cache-control") == "no-store"
    house.services["registry"].headers = [(b"cache-control", b"public, max-age=3600")]
    assert (await house.ask("GET", "/registry", key)).get("cache-control") == "public, max-age=3600"
    assert (await house.ask("GET", "/registry")).get("cache-control") == "public, max-age=3600"


async def test_a_services_date_and_server_are_not_doubled(house: House) -> None:
    house.services["registry"].headers = [(b"date", b"x"), (b"server", b"x")]
    answer = await house.ask("GET", "/registry")
    assert answer.all("date") == answer.all("server") == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/problem+json", 200),
        ("application/vnd.llmring+json;v=1", 200),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonx", 415),
        ("text/json", 415),
        ("application/xml", 415),
        ("", 415),
    ],
)
async def test_a_body_is_json_or_says_nothing(house: House, content_type: str, status: int) -> None:
    key = house.new_key()
    headers = [("X-API-Key", key), ("Content-Type", content_type)]
    assert (await house.ask("POST", "/api/v1/log", *headers, body=LOG)).status == status


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZIP", "identity, gzip", "x" * 5000, "\xff"])
async def test_a_body_that_is_compressed_is_refused_on_every_path(house: House, coding: str) -> None:
    key = ("X-API-Key", house.new_key(requests_per_minute=None))
    for method, path, content_type in (
        ("POST", "/api/v1/log", "application/json"),
        ("POST", "/api/v1/logs/import", "application/x-ndjson"),
        ("POST", "/api/v1/receipts/cosignatures", "text/plain"),
        ("POST", "/api/v1/register", "application/json"),
        ("PATCH", "/api/v1/keys/x", "application/json"),
        ("DELETE", "/api/v1/keys/x", "application/json"),
    ):
        headers = [key, ("Content-Type", content_type), ("Content-Encoding", coding)]
        answer = await house.ask(method, path, *headers, body=LOG)
        assert answer.status == 415, path
        assert "Content-Encoding" in answer.json["detail"]
        assert len(answer.json["detail"]) < 200
    assert not any(service.requests for service in house.services.values())


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_a_body_that_is_sent_as_it_is_may_say_so(house: House, coding: str) -> None:
    key = ("X-API-Key", house.new_key())
    encoding = ("Content-Encoding", coding)
    assert (await house.ask("POST", "/api/v1/log", key, encoding, body=LOG)).status == 200
    # Without a body nothing is encoded.
    assert (await house.ask("GET", "/api/v1/stats", key, ("Content-Encoding", "gzip"))).status == 200


async def test_a_signed_note_is_plain_text(house: House) -> None:
    headers = [("Content-Type", "text/plain; charset=utf-8")]
    path = "/api/v1/receipts/cosignatures"
    assert (await house.ask("POST", path, *headers, body=b"a note")).status == 200
    assert house.services["receipts"].last.body == b"a note"


async def test_no_content_type_and_no_body_are_no_fault(house: House) -> None:
    key = ("X-API-Key", house.new_key())
    form = ("Content-Type", "application/x-www-form-urlencoded")
    assert (await house.ask("POST", "/api/v1/log", key, body=LOG)).status == 200
    assert house.services["ingest"].last.body == LOG
    assert (await house.ask("POST", "/api/v1/log", key, form)).status == 200
    assert (await house.ask("GET", "/api/v1/stats", key, form)).status == 200
