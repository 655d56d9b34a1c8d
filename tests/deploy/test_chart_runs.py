"""The Helm chart, run without Kubernetes: what it renders as processes, against real servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import chart
from tests.deploy.compose_file import PROGRAM
from tests.deploy.customer import expect_everything_works
from tests.deploy.local import LocalContainer, Street, hide_left_out, run_all, run_keys
from tests.deploy.servers import create_database, open_servers, put_on
from tests.live.conftest import open_folder

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("deploy-chart"),
]

VALUES = {
    "settings": {
        "logLevel": "debug",
        "publicUrl": "https://llmring.example.com",
        "trustedProxies": ["10.0.0.0/8"],
    },
    "kafka": {"replicationFactor": 1},
}


class Release:
    """The release, installed."""

    def __init__(self, containers: dict[str, LocalContainer], test: LocalContainer) -> None:
        self.containers = containers
        self.test = test


@pytest.fixture(scope="module")
def release(helm: Path) -> Iterator[Release]:
    """`helm install`, as far as a machine without Kubernetes goes."""
    manifests = chart.render(helm, values=VALUES)
    pods = dict(chart.list_pods(manifests))
    kept = {
        "llmring-database": {"LLMRING_DATABASE_URL": "postgresql://llmring:secret@postgres:5432/llmring"},
        "llmring-redis": {"LLMRING_REDIS_URL": "redis://redis:6379/0"},
        "llmring-principal": run_keys(PROGRAM, "principal"),
        "llmring-receipts": run_keys(PROGRAM, "receipts"),
        "llmring-webhooks": run_keys(PROGRAM, "webhooks"),
    }
    with open_folder() as folder, open_servers() as servers:
        create_database(servers["postgres"], user="llmring", password="secret", database="llmring")
        hide_left_out(folder)
        street = Street()
        put_on(street, servers)
        containers = {
            component: LocalContainer(chart.read_container(manifest, kept), street, folder)
            for manifest in manifests
            if manifest["kind"] in ("Deployment", "Job", "Pod")
            for component in [manifest["metadata"]["labels"][chart.COMPONENT]]
        }
        for service in chart.list_of(manifests, "Service"):
            name, port, target = chart.find_address(service, pods)
            street.put(f"{service['metadata']['name']}:{port}", f"{containers[name].address}:{target}")
        migrate, test = containers.pop("migrate"), containers.pop("test")
        with run_all(migrate, containers):
            yield Release(containers, test)


def test_a_customer_gets_everything_through_the_gateway(release: Release) -> None:
    key = release.containers["auth"].run("llmring-api", "keys", "create", "--operator")
    expect_everything_works(f"http://{release.containers['gateway'].address}:8080", key)


def test_the_charts_own_test_passes(release: Release) -> None:
    assert "/health/ready 200" in release.test.run()
