"""What `/health` says of the services behind, at what price."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from services.gateway.settings import GatewaySettings
from shared.errors import UnavailableError
from shared.web.asgi import send_answer
from shared.web.client import AsgiUpstream
from tests.gateway.conftest import House, build_parts, open_house


class Part:
    """A dependency that can be there, away, or never answer."""

    def __init__(self) -> None:
        self.state = "there"
        self.pinged = 0

    async def ping(self) -> None:
        self.pinged += 1
        if self.state == "away":
            raise UnavailableError("away")
        if self.state == "hung":
            await asyncio.Event().wait()


SERVICES = ("registry", "ingest", "auth", "receipts", "webhooks")


class Town:
    """A house whose services have dependencies, asked in process or over HTTP."""

    def __init__(self, remote: bool) -> None:
        parts = build_parts()
        self.database, self.log, self.redis = Part(), Part(), Part()
        self.registry_database = Part()
        self.pings: dict[str, dict[str, Any]] = {
            name: {"database": self.database.ping, "event_log": self.log.ping} for name in SERVICES
        }
        self.pings["registry"]["database"] = self.registry_database.ping
        self.pings["ingest"]["redis"] = self.redis.ping
        if remote:
            for name, recorder in parts["services"].items():
                recorder.act = self.answer_health(name)
        upstreams = {name: AsgiUpstream(recorder) for name, recorder in parts["services"].items()}
        self.house = House(upstreams, parts, GatewaySettings(), None if remote else self.pings)

    def answer_health(self, name: str) -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            assert scope["path"] == "/internal/health"
            checks = {}
            for part, ping in self.pings[name].items():
                try:
                    async with asyncio.timeout(0.5):
                        await ping()
                    checks[part] = True
                except Exception:
                    checks[part] = False
            await send_answer(send, 200, msgspec.json.encode({"checks": checks}))

        return answer


@pytest.fixture(params=["in_process", "remote"])
def town(request: pytest.FixtureRequest) -> Town:
    return Town(request.param == "remote")


async def test_all_is_well(town: Town) -> None:
    for page in ("/health", "/health/ready"):
        answer = await town.house.ask("GET", page)
        assert answer.status == 200
        assert answer.json == {
            "status": "healthy",
            "version": "1.2.3",
            "database": "connected",
            "redis": "connected",
            "event_log": "connected",
            "services": dict.fromkeys((*SERVICES, "gateway"), "healthy"),
        }


async def test_without_the_database_logs_are_still_taken_so_it_is_degraded_and_ready(town: Town) -> None:
    town.database.state = "away"
    answer = await town.house.ask("GET", "/health")
    assert (answer.status, answer.json["status"], answer.json["database"]) == (200, "degraded", "down")
    assert answer.json["services"]["ingest"] == "without database"
    assert answer.json["services"]["registry"] == "healthy"
    assert (await town.house.ask("GET", "/health/ready")).status == 200


async def test_without_the_event_log_it_is_unhealthy_and_alive(town: Town) -> None:
    town.log.state = "away"
    answer = await town.house.ask("GET", "/health")
    assert (answer.status, answer.json["event_log"]) == (503, "down")
    assert (await town.house.ask("GET", "/health/ready")).status == 503
    assert (await town.house.ask("GET", "/health/live")).json == {"status": "alive"}


async def test_without_redis_it_is_degraded_and_ready(town: Town) -> None:
    """P4."""
    town.redis.state = "away"
    answer = await town.house.ask("GET", "/health/ready")
    assert (answer.status, answer.json["status"], answer.json["redis"]) == (200, "degraded", "down")


async def test_without_the_registrys_database_it_is_degraded(town: Town) -> None:
    town.registry_database.state = "away"
    answer = await town.house.ask("GET", "/health")
    assert (answer.status, answer.json["status"], answer.json["database"]) == (200, "degraded", "down")


async def test_what_never_answers_is_down_within_a_second(town: Town) -> None:
    town.database.state = town.log.state = "hung"
    began = time.monotonic()
    answer = await town.house.ask("GET", "/health")
    assert time.monotonic() - began < 1.5
    assert answer.status == 503


async def test_a_flood_of_questions_asks_once_a_second(town: Town) -> None:
    answers = await asyncio.gather(*(town.house.ask("GET", "/health") for _ in range(500)))
    assert {answer.status for answer in answers} == {200}
    assert town.redis.pinged == 1
    town.redis.state = "away"
    assert (await town.house.ask("GET", "/health")).json["redis"] == "connected"
    town.house.tick(1)
    assert (await town.house.ask("GET", "/health")).json["redis"] == "down"
    assert town.redis.pinged == 2


async def test_embedded_redis_is_not_configured(town: Town) -> None:
    del town.pings["ingest"]["redis"]
    answer = await town.house.ask("GET", "/health")
    assert (answer.json["redis"], answer.json["status"]) == ("not configured", "healthy")


async def test_a_service_that_cannot_be_reached_is_down() -> None:
    async with open_house("over_http") as house:  # these services have no such page
        answer = await house.ask("GET", "/health")
        assert answer.status == 503
        assert answer.json["services"]["ingest"] == "down"
        assert answer.json["services"]["gateway"] == "healthy"


async def test_a_gateway_that_lost_the_log_says_so(town: Town) -> None:
    town.house.log.away = True
    answer = await town.house.ask("GET", "/health")
    assert (answer.status, answer.json["status"]) == (200, "degraded")
    assert answer.json["services"]["gateway"] == "without event_log"
