"""`keys.changed`: published before the answer, or by the relay; never lost, whatever is away."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest

from services.auth.announce import RELAY_AFTER, KeyChanges, note_change
from shared.contracts.topics import KEYS_CHANGED
from shared.errors import LLMRingError, NotFoundError, UnavailableError
from shared.ids import uuid7
from shared.telemetry.metrics import REGISTRY
from tests.auth.conftest import T0, Auth, open_auth
from tests.conftest import StartServer

AWAY = UnavailableError("The event log is away.")


@pytest.fixture
def changes(auth: Auth) -> KeyChanges:
    return KeyChanges(auth.database, auth.log, auth.clock)


def oldest_age() -> float | None:
    return REGISTRY.get_sample_value("llmring_outbox_oldest_age_seconds", {"topic": KEYS_CHANGED})


async def test_the_event_is_in_the_log_before_the_answer(auth: Auth) -> None:
    body = await auth.open_account()
    (made,) = await auth.events()
    found = await auth.verify(body["api_key"])
    assert found is not None
    assert (made.account_id, made.key_ids, made.changed_at) == (found.account_id, (found.key_id,), T0)
    await auth.patch(body["account_id"], {"tier": "pro"})
    changed = (await auth.events())[-1]
    assert (changed.v, changed.account_id, changed.key_ids) == (1, found.account_id, ())
    assert await auth.count("outbox") == 0


async def test_a_refused_change_is_no_event(auth: Auth) -> None:
    await auth.open_account()
    await auth.register("nora@example.test")
    await auth.patch(str(uuid7()), {"tier": "pro"})
    assert len(await auth.events()) == 1
    assert await auth.count("outbox") == 0


@pytest.mark.parametrize("failure", [AWAY, NotFoundError("There is no such topic.")])
async def test_a_change_holds_while_the_log_is_away_and_is_told_afterwards(
    auth: Auth, changes: KeyChanges, failure: LLMRingError
) -> None:
    body = await auth.open_account()
    auth.log.failure = failure
    assert (await auth.patch(body["account_id"], {"tier": "pro"})).status_code == 200
    assert (await auth.register("pia@example.test")).status_code == 201
    found = await auth.verify(body["api_key"])
    assert found is not None
    assert found.tier == "pro"
    assert (len(await auth.events()), await auth.count("outbox")) == (1, 2)

    auth.clock.at = T0 + RELAY_AFTER + timedelta(seconds=1)
    with pytest.raises(type(failure)):
        await changes.publish_left_over()
    assert oldest_age() == (RELAY_AFTER + timedelta(seconds=1)).total_seconds()
    auth.log.failure = None
    assert await changes.publish_left_over() == 2
    assert await changes.publish_left_over() == 0
    assert oldest_age() == 0
    assert (await auth.changed_accounts())[:2] == [found.account_id] * 2
    assert (len(await auth.events()), await auth.count("outbox")) == (3, 0)


async def test_what_a_killed_process_left_behind_is_published(auth: Auth, changes: KeyChanges) -> None:
    account_ids = [uuid7() for _ in range(1200)]
    async with auth.database.transaction() as connection:
        for account_id in account_ids:
            await note_change(connection, account_id, T0)
    auth.clock.at = T0 + RELAY_AFTER + timedelta(seconds=1)
    stop = asyncio.Event()
    relays = [asyncio.create_task(changes.run_relay(stop)) for _ in range(2)]
    await auth.wait_for_empty_outbox()
    stop.set()
    await asyncio.wait_for(asyncio.gather(*relays), 5)
    published = await auth.changed_accounts()
    assert set(published) == set(account_ids)


async def test_the_relay_outlives_an_outage_and_stops_when_told(auth: Auth) -> None:
    [worker] = [worker for worker in auth.service.workers if worker.name == "auth-relay"]
    auth.log.failure = AWAY
    await auth.open_account()
    auth.clock.at = T0 + RELAY_AFTER + timedelta(seconds=1)
    stop = asyncio.Event()
    relay = asyncio.ensure_future(worker.run(stop))
    await asyncio.sleep(0.1)
    assert not relay.done()
    auth.log.failure = None
    await auth.wait_for_empty_outbox()
    stop.set()
    await asyncio.wait_for(relay, 5)
    assert len(await auth.events()) == 1


async def test_without_its_database_the_service_says_come_back_and_does(
    own_server: StartServer, postgres_url: str
) -> None:
    server = own_server("postgres", durable=False)
    async with open_auth(f"postgresql://postgres@{server.address}/postgres", postgres_url) as auth:
        body = await auth.open_account()
        lookup = {"key_sha256": "0" * 64}
        requests: list[Callable[[], Awaitable[httpx.Response]]] = [
            lambda: auth.register("pia@example.test"),
            lambda: auth.patch(body["account_id"], {"tier": "pro"}),
            auth.get_admin,
            lambda: auth.http.post("/internal/keys/verify", json=lookup, headers=auth.token("gateway")),
        ]
        await auth.operator()
        server.kill()
        await asyncio.sleep(0.2)  # what a connection says in its last moment is tested with the pool
        for request in requests:
            answer = await request()
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
        server.start()
        found = await auth.verify(body["api_key"])
        assert found is not None
        assert found.tier == "free"
        assert (await auth.register("pia@example.test")).status_code == 201
