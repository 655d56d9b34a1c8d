"""Case P12 with separate processes, Kafka and Redis: a revoked key is dead within a second everywhere."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.production.conftest import CALL, Customer, Town
from tests.production.processes import Process

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("production"),
]


@pytest.fixture
def gateways(town: Town) -> Iterator[list[str]]:
    """The URLs of three gateways: the deployment's, and two more."""
    more = [Process("gateway", town.deployment.folder, dict(town.deployment.environment)) for _ in range(2)]
    with ExitStack() as stack:
        for process in more:
            process.spawn()
            stack.callback(process.stop)
        for process in more:
            process.wait_ready()
        yield [town.deployment.url, *(process.url for process in more)]


def test_a_revoked_key_is_dead_on_three_gateways_within_a_second(
    customer: Customer, gateways: list[str]
) -> None:
    with httpx.Client(timeout=30) as http, ThreadPoolExecutor(6) as threads:

        def log(url: str, key: str) -> int:
            return http.post(f"{url}/api/v1/log", json=CALL, headers={"X-API-Key": key}).status_code

        def log_everywhere(key: str, times: int = 1) -> set[int]:
            return set(threads.map(lambda url: log(url, key), gateways * times))

        for _ in range(3):
            made = customer.http.post("/api/v1/keys", json={"scopes": ["log"]}).raise_for_status().json()
            assert log_everywhere(made["api_key"], 3) == {200}
            customer.http.delete(f"/api/v1/keys/{made['key']['id']}").raise_for_status()
            revoked_at = time.monotonic()
            while log_everywhere(made["api_key"]) != {401}:
                assert time.monotonic() - revoked_at < 1
            assert log_everywhere(made["api_key"], 20) == {401}
        assert log_everywhere(customer.key) == {200}
