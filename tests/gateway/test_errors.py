"""Whatever a service does, a client gets a problem document; nobody's departure is an error in the log."""

import asyncio
import logging
import time
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from services.gateway.settings import GatewaySettings
from shared.errors import ConflictError, UnavailableError
from shared.web.asgi import ClientGoneError
from shared.web.http_upstream import HttpUpstream
from tests.chaos.link import Link
from tests.gateway.conftest import House, build_parts, open_house
from tests.gateway.streets import serve

JSON = ("Content-Type", "application/json")


@pytest.fixture
def no_error_logs(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_service_that_breaks_is_a_500_without_details(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.services["registry"].error = ZeroDivisionError("secret detail")
    answer = await house.ask("GET", "/registry")
    assert answer.status == 500
    assert answer.json["type"].endswith("/internal")
    assert b"secret" not in answer.body
    assert answer.get("x-ratelimit-remaining") == "59"


async def test_what_broke_is_in_the_log_with_its_request(
    local_house: House, caplog: pytest.LogCaptureFixture
) -> None:
    local_house.services["registry"].error = ZeroDivisionError("secret detail")
    answer = await local_house.ask("GET", "/registry")
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert answer.get("x-request-id") in record.getMessage()
    assert record.exc_info is not None


async def test_a_typed_error_of_a_service_in_this_process_is_a_problem(local_house: House) -> None:
    local_house.services["registry"].error = ConflictError("It is taken.")
    answer = await local_house.ask("GET", "/registry")
    assert (answer.status, answer.json["detail"]) == (409, "It is taken.")


@pytest.mark.usefixtures("no_error_logs")
async def test_a_service_that_is_not_there_is_a_503() -> None:
    async with open_house("over_http") as house:
        async with serve(house.services["registry"]) as [port]:
            pass
        away = HttpUpstream(f"http://127.0.0.1:{port}")
        upstreams = dict.fromkeys(("registry", "ingest", "auth", "receipts", "webhooks"), away)
        alone = House(upstreams, build_parts(), GatewaySettings())
        answer = await alone.ask("GET", "/registry")
        assert answer.status == 503
        assert int(answer.get("retry-after") or 0) >= 1
        assert (await alone.post_log(house.new_key())).status == 503
        await alone.close()


@pytest.mark.usefixtures("no_error_logs")
async def test_a_connection_is_replaced_after_a_while_so_that_new_instances_are_met() -> None:
    callers: Counter[Any] = Counter()

    async def service(scope: Any, receive: Any, send: Any) -> None:
        callers[scope["client"]] += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serve(service) as [port]:
        upstream = HttpUpstream(f"http://127.0.0.1:{port}", uses=10)
        alone = House(
            dict.fromkeys(("registry", "ingest", "auth", "receipts", "webhooks"), upstream),
            build_parts(),
            GatewaySettings(anonymous_requests_per_minute=1000),
        )
        for _ in range(300):
            assert (await alone.ask("GET", "/registry")).status == 200
        await alone.close()
    assert callers.total() == 300
    assert 5 < len(callers) < 100


@pytest.mark.usefixtures("no_error_logs")
async def test_connections_that_the_network_forgot_cost_their_users_once() -> None:
    async def service(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serve(service) as [port]:
        link = Link([f"127.0.0.1:{port}"])
        await link.open()
        upstream = HttpUpstream(f"http://{link.address}", timeout=timedelta(seconds=1))
        request = partial(upstream.call, "GET", "/anything")
        await asyncio.gather(*(request() for _ in range(20)))
        link.forget()
        with pytest.raises(UnavailableError):
            await request()
        began = time.monotonic()
        for _ in range(20):
            await request()
        assert time.monotonic() - began < 1
        await upstream.close()
        await link.close()


@pytest.mark.parametrize(("status", "told"), [(500, 500), (501, 500), (502, 503), (503, 503), (504, 503)])
@pytest.mark.usefixtures("no_error_logs")
async def test_an_error_in_another_form_becomes_a_problem(house: House, status: int, told: int) -> None:
    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html")]}
        )
        await send({"type": "http.response.body", "body": b"<h1>upstream says ", "more_body": True})
        await send({"type": "http.response.body", "body": b"no</h1>", "more_body": False})

    async with serve(proxy) as [port]:
        upstream = HttpUpstream(f"http://127.0.0.1:{port}")
        alone = House(dict.fromkeys(house.services, upstream), build_parts(), GatewaySettings())
        answer = await alone.ask("GET", "/registry")
        assert (answer.status, answer.get("content-type")) == (told, "application/problem+json")
        assert b"upstream says" not in answer.body
        await alone.close()


async def test_a_services_own_problem_passes_as_it_is(house: House) -> None:
    house.services["registry"].status = 422
    house.services["registry"].body = b'{"type":"https://llmring.ai/problems/invalid-field"}'
    answer = await house.ask("GET", "/registry")
    assert (answer.status, answer.body) == (422, house.services["registry"].body)


async def test_a_503_of_a_service_passes_with_its_retry_after(local_house: House) -> None:
    local_house.services["registry"].error = UnavailableError("The database is away.")
    answer = await local_house.ask("GET", "/registry")
    assert (answer.status, answer.get("retry-after")) == (503, "2")


@pytest.mark.usefixtures("no_error_logs")
async def test_a_service_that_says_nothing_is_a_500(local_house: House) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    local_house.services["registry"].act = silent
    assert (await local_house.ask("GET", "/registry")).status == 500


@pytest.mark.usefixtures("no_error_logs")
async def test_a_client_that_left_is_no_error(local_house: House) -> None:
    sent: list[Any] = []
    local_house.services["registry"].error = ClientGoneError("The client closed the connection.")

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/registry",
        "raw_path": b"/registry",
        "query_string": b"",
        "headers": [],
        "client": ("198.51.100.1", 1),
    }
    await local_house.app(scope, receive, send)
    assert sent == []


async def test_a_path_without_its_raw_form_is_routed_all_the_same(local_house: House) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/registry/models/x/é",
        "query_string": b"",
        "headers": [],
        "client": None,
    }
    await local_house.app(scope, receive, send)
    assert sent[0]["status"] == 200


async def test_lifespan_and_websockets_are_answered(local_house: House) -> None:
    async def talk(kind: str, *messages: str) -> list[str]:
        incoming = [{"type": message} for message in messages]
        outgoing: list[str] = []

        async def receive() -> Any:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            outgoing.append(message["type"])

        await local_house.app({"type": kind, "path": "/"}, receive, send)
        return outgoing

    assert await talk("lifespan", "lifespan.startup", "lifespan.shutdown") == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert await talk("websocket", "websocket.connect") == ["websocket.close"]


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(local_house: House) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise UnavailableError("The database went away.")

    local_house.services["registry"].act = broken
    async with serve(local_house.app) as [port]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /registry HTTP/1.1\r\nHost: x\r\n\r\n")
        whole = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert b"half" in whole
    assert not whole.endswith(b"0\r\n\r\n")
