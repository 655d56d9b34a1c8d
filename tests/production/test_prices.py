"""A published price reaches every ingest process within a second, whatever else is away."""

import time
import uuid
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import pytest

from shared.clock import SystemClock
from shared.contracts.keys import Principal
from shared.proofs.signing import SigningKey
from shared.web.principal import PRINCIPAL_HEADER, PrincipalMint
from tests.production.conftest import Customer, Town
from tests.production.processes import Process, wait_until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("production"),
]
SOON_S = 1.0


class Priced(NamedTuple):
    """What one record cost, and by which version."""

    version: str
    cost: float


class Ingests:
    """Two ingest processes, asked directly as the gateway would."""

    def __init__(self, town: Town, account_id: str) -> None:
        self.town = town
        deployment = town.deployment
        # It starts after the others, so it knows where they are.
        self.second = Process("ingest", deployment.folder, dict(deployment.environment))
        self.second.start()
        self._clients = [
            httpx.Client(base_url=process.url, timeout=30) for process in (deployment["ingest"], self.second)
        ]
        seed = deployment.environment["LLMRING_PRINCIPAL_SEED"]
        self._mint = PrincipalMint(SigningKey.from_seed(b64decode(seed)), SystemClock())
        self._principal = Principal(
            account_id=uuid.UUID(account_id), key_id=uuid.uuid4(), scopes=("log", "read")
        )
        self.model = f"m-{uuid.uuid4().hex[:12]}"

    def close(self) -> None:
        for client in self._clients:
            client.close()
        assert self.second.stop() == 0

    def publish(self, price: float, **changes: Any) -> str:
        """Publish the model at a price of so many dollars a million tokens in; when that is acknowledged."""
        model = {
            "provider": "acme",
            "model_name": self.model,
            "dollars_per_million_tokens_input": price,
            "dollars_per_million_tokens_output": 0,
        }
        body = {"models": [model], "mode": "merge", "confirm": True, **changes}
        answer = self.town.operator.post("/registry/versions", json=body)
        assert answer.status_code == 201, answer.text
        version: str = answer.json()["version"]
        return version

    def log(self, client: httpx.Client) -> httpx.Response:
        """A million tokens in."""
        token = self._mint.mint(self._principal).decode()
        body = {"provider": "acme", "model": self.model, "input_tokens": 1_000_000}
        return client.post("/api/v1/log", json=body, headers={PRINCIPAL_HEADER.decode(): token})

    def price_at_each(self) -> list[Priced]:
        """One record at each process; both must take it."""
        found = []
        for client in self._clients:
            answer = self.log(client)
            assert answer.status_code == 200, answer.text
            found.append(Priced(answer.json()["registry_version"], answer.json()["cost"]))
        return found

    def seconds_until(self, version: str, since: float) -> list[float]:
        """Per process, when the first record was priced with a version, counted from an instant."""

        def measure(client: httpx.Client) -> float:
            deadline = since + 20
            while True:
                answer = self.log(client)
                if answer.status_code == 200 and answer.json()["registry_version"] == version:
                    return time.monotonic() - since
                assert time.monotonic() < deadline, answer.text
                time.sleep(0.01)

        with ThreadPoolExecutor(len(self._clients)) as pool:
            return list(pool.map(measure, self._clients))


@pytest.fixture
def ingests(town: Town, customer: Customer) -> Iterator[Ingests]:
    made = Ingests(town, customer.account_id)
    yield made
    made.close()


def test_a_published_price_counts_in_every_process_within_a_second(ingests: Ingests) -> None:
    for price in (1.5, 2.5, 3.5):
        version = ingests.publish(price)
        took = ingests.seconds_until(version, time.monotonic())
        assert max(took) < SOON_S, took
        assert ingests.price_at_each() == [Priced(version, price)] * 2


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_also_one_that_was_published_while_the_event_log_was_away(
    town: Town, ingests: Ingests, how: str
) -> None:
    ingests.publish(1.5)
    getattr(town.servers["kafka"], how)()
    try:
        version = ingests.publish(2.5)
        time.sleep(2 * SOON_S)  # by then they know it, although nothing is accepted
    finally:
        town.servers["kafka"].start() if how == "kill" else town.servers["kafka"].resume()
    first: list[Priced] = []

    def are_back() -> bool:
        try:
            first.extend(ingests.price_at_each())
        except AssertionError:
            return False
        return True

    wait_until(are_back, 60)
    # Not one record that is accepted again has the old price.
    assert set(first) == {Priced(version, 2.5)}
    again = ingests.publish(3.5)
    took = ingests.seconds_until(again, time.monotonic())
    assert max(took) < SOON_S, took


def test_a_later_price_counts_from_its_moment_on_also_without_the_registry(
    town: Town, ingests: Ingests
) -> None:
    now = ingests.publish(1.5)
    ingests.seconds_until(now, time.monotonic())
    due = datetime.now(UTC) + timedelta(seconds=4)
    then = ingests.publish(2.5, effective_from=due.isoformat())
    registry = town.deployment["registry"]
    time.sleep(SOON_S)
    registry.kill()
    try:
        seen: dict[Priced, int] = {}
        while datetime.now(UTC) < due - timedelta(seconds=0.3):
            for priced in ingests.price_at_each():
                seen[priced] = seen.get(priced, 0) + 1
        assert seen.keys() == {Priced(now, 1.5)}
        time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()) + 0.01)
        began = time.monotonic()
        assert ingests.price_at_each() == [Priced(then, 2.5)] * 2
        assert time.monotonic() - began < SOON_S
    finally:
        registry.start()
