"""`llmring-api doctor`: every dependency is looked at, and what is wrong is named."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from services.cli.dependencies import Look, judge_topic
from shared.contracts.topics import TOPICS, USAGE_LOGGED, USAGE_RATED
from shared.event_log.port import TopicState
from shared.runtime.front import Front
from shared.runtime.listen import listen
from shared.runtime.service import Service
from tests.auth.test_mail import Mailbox, open_server
from tests.conftest import StartServer
from tests.operations.works import Works
from tests.servers.process import find_free_port
from tests.servers.redis import ask_redis

ON_POSTGRES = pytest.mark.parametrize("kind", ["postgres"])


async def looked(works: Works, **settings: str) -> tuple[int, dict[str, dict[str, str]]]:
    printed = await works.run("doctor", "--json", **settings)
    looks: list[dict[str, str]] = json.loads(printed.out)
    return printed.status, {look["name"]: look for look in looks}


async def test_a_deployment_that_has_everything_is_well(works: Works, redis_url: str) -> None:
    status, looks = await looked(works, LLMRING_REDIS_URL=redis_url)
    assert status == 0, looks
    assert looks.keys() == {"database", "event log", "redis", *TOPICS}
    # One broker is enough for a test, and worth a note.
    expected = "ok" if works.kind == "postgres" else "note"
    assert {looks[topic]["status"] for topic in TOPICS} == {expected}
    printed = await works.run("doctor")
    assert "all migrations are applied" in printed.out
    assert f"{expected:<8} usage.logged" in printed.out


@ON_POSTGRES
async def test_a_redis_that_may_drop_keys_is_worth_a_note(works: Works, own_server: StartServer) -> None:
    server = own_server("redis")
    for memory, status in (("0", "ok"), ("100mb", "note")):
        ask_redis(server.address, f"CONFIG SET maxmemory {memory}", "CONFIG SET maxmemory-policy allkeys-lru")
        _, looks = await looked(works, LLMRING_REDIS_URL=f"redis://{server.address}")
        assert looks["redis"]["status"] == status, looks
    assert "noeviction" in looks["redis"]["detail"]


@ON_POSTGRES
async def test_what_is_missing_is_named(works: Works) -> None:
    await works.fetch("DELETE FROM usage.schema_migrations WHERE version = 2")
    await works.fetch("DELETE FROM event_log.partitions WHERE topic = 'usage.rated' AND partition = 11")
    await works.fetch("DELETE FROM event_log.partitions WHERE topic = 'keys.changed'")
    status, looks = await looked(
        works,
        LLMRING_REDIS_URL=f"redis://127.0.0.1:{find_free_port()}",
        LLMRING_REGISTRY_URL=f"http://127.0.0.1:{find_free_port()}",
    )
    assert status == 1
    problems = {name: look["detail"] for name, look in looks.items() if look["status"] == "problem"}
    assert "usage/0002_" in problems.pop("database")
    assert problems.pop("usage.rated") == "11 partitions instead of 12"
    assert "no such topic" in problems.pop("keys.changed")
    assert "Redis" in problems.pop("redis")
    ((name, detail),) = problems.items()
    assert name.startswith("registry at http://127.0.0.1:")
    assert "away" in detail


@ON_POSTGRES
async def test_a_service_that_does_not_reach_something_is_a_problem(works: Works) -> None:
    async def ping() -> None:
        """It is there."""

    async def no_ping() -> None:
        raise ConnectionError

    async with (
        _serving(Service(name="auth", pings={"database": ping})) as well,
        _serving(Service(name="ingest", pings={"database": no_ping, "event_log": ping})) as ill,
    ):
        status, looks = await looked(works, LLMRING_AUTH_URL=well, LLMRING_INGEST_URL=ill)
    assert status == 1
    assert looks[f"auth at {well}"]["detail"] == "reaches: database"
    assert looks[f"ingest at {ill}"]["detail"] == "does not reach: database"


@ON_POSTGRES
async def test_the_mail_server_is_tried_and_gets_no_mail(works: Works) -> None:
    mailbox = Mailbox()
    async with open_server(mailbox) as port:
        mail = {
            "LLMRING_SMTP_HOST": "127.0.0.1",
            "LLMRING_SMTP_PORT": str(port),
            "LLMRING_SMTP_FROM": "a@b.test",
        }
        name = f"mail at 127.0.0.1:{port}"
        plain, looks = await looked(works, LLMRING_SMTP_SECURITY="none", **mail)
        assert (plain, looks[name]["status"]) == (0, "note")
        login = {"LLMRING_SMTP_USER": "u", "LLMRING_SMTP_PASSWORD": "hush"}
        for settings in ({}, {"LLMRING_SMTP_SECURITY": "none"} | login):
            status, looks = await looked(works, **mail, **settings)
            assert (status, looks[name]["status"]) == (1, "problem")
            assert ("AUTH" if settings else "STARTTLS") in looks[name]["detail"]
            assert "hush" not in str(looks)
    status, looks = await looked(works, **mail)
    assert (status, looks[name]["status"]) == (1, "problem")
    assert mailbox.mails == mailbox.envelopes == []


@asynccontextmanager
async def _serving(service: Service) -> AsyncIterator[str]:
    front, port = Front(lambda: (b"", "text/plain")), find_free_port()
    front.open(service)
    async with listen(front, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


@ON_POSTGRES
async def test_a_database_or_an_event_log_that_is_away_is_a_problem(works: Works) -> None:
    nowhere = find_free_port()
    status, looks = await looked(
        works,
        LLMRING_DATABASE_URL=f"postgresql://postgres@127.0.0.1:{nowhere}/x",
        LLMRING_KAFKA_BOOTSTRAP=f"127.0.0.1:{nowhere}",
    )
    assert status == 1
    assert {name: look["status"] for name, look in looks.items()} == {
        "database": "problem",
        "event log": "problem",
    }
    printed = await works.run("doctor", "--verify", LLMRING_KAFKA_BOOTSTRAP=f"127.0.0.1:{nowhere}")
    assert printed.status == 1
    assert "Kafka" in printed.err
    assert "Traceback" not in printed.err


@ON_POSTGRES
async def test_a_deployment_that_was_never_started_is_not_made_by_a_look(works: Works, tmp_path: Any) -> None:
    printed = await works.run("doctor", LLMRING_DATABASE_URL="", LLMRING_DATA_DIR=str(tmp_path / "none"))
    assert printed.status == 1
    assert "There is no database in" in printed.err
    assert not (tmp_path / "none").exists()


SAFE = TopicState(12, copies=3, in_sync=3, must_be_in_sync=2)


@pytest.mark.parametrize(
    ("state", "status", "why"),
    [
        (SAFE, "ok", "12 partitions, 3 copies, 3 in sync, 2 must be"),
        (SAFE._replace(in_sync=2), "note", "a copy is behind"),
        (SAFE._replace(in_sync=1), "problem", "nothing is accepted"),
        (SAFE._replace(must_be_in_sync=1), "problem", "one copy alone"),
        (SAFE._replace(partitions=6), "problem", "6 partitions instead of 12"),
        (SAFE._replace(copies=2, in_sync=2, must_be_in_sync=1), "note", "fewer than 3 copies"),
        (SAFE._replace(retention=timedelta(days=7)), "note", "older than 7 days, 0:00:00 cannot be rebuilt"),
        (TopicState(12), "ok", "12 partitions"),
    ],
)
def test_how_a_topic_is_kept_is_judged(state: TopicState, status: str, why: str) -> None:
    look = judge_topic(USAGE_LOGGED, 12, state)
    assert (look.status, look.name) == (status, USAGE_LOGGED)
    assert why in look.detail


def test_only_the_source_of_all_has_to_be_kept_for_ever() -> None:
    passed_on = SAFE._replace(retention=timedelta(days=7))
    assert isinstance(judge_topic(USAGE_RATED, 12, passed_on), Look)
    assert judge_topic(USAGE_RATED, 12, passed_on).status == "ok"
