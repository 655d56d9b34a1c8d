"""docker-compose.yml, run without Docker: its commands with its environment, against real servers."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy import compose_file
from tests.deploy.customer import expect_everything_works
from tests.deploy.documents import read_yaml
from tests.deploy.local import LocalContainer, Street, hide_left_out, run_all
from tests.deploy.servers import (
    configure_redis,
    create_database,
    is_healthy,
    open_servers,
    put_on,
    read_kafka_settings,
)
from tests.docs.pages import ROOT
from tests.live.conftest import open_folder
from tests.servers.server import Server

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("deploy-compose"),
]


class Project:
    """The project, up."""

    def __init__(
        self, compose: dict[str, Any], servers: dict[str, Server], containers: dict[str, LocalContainer]
    ) -> None:
        self.compose = compose
        self.servers = servers
        self.containers = containers
        self.url = f"http://{containers['gateway'].address}:8080"


def make_env(folder: Path) -> dict[str, str]:
    """Run deploy/compose/make-env.sh; what it wrote."""
    target = folder / ".env"
    subprocess.run(
        [ROOT / "deploy" / "compose" / "make-env.sh", target],
        env={"LLMRING_API": str(compose_file.PROGRAM), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    assert target.stat().st_mode & 0o077 == 0
    return compose_file.read_env_file(target.read_text())


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """`docker compose up`, as far as a machine without Docker goes."""
    with open_folder() as folder:
        compose = compose_file.read_compose(make_env(folder))
        services = compose["services"]
        kafka_settings = read_kafka_settings(services["kafka"]["environment"])
        with open_servers(kafka_settings) as servers:
            postgres = services["postgres"]["environment"]
            create_database(
                servers["postgres"],
                user=postgres["POSTGRES_USER"],
                password=postgres["POSTGRES_PASSWORD"],
                database=postgres["POSTGRES_DB"],
            )
            configure_redis(servers["redis"], services["redis"]["command"])
            hide_left_out(folder)
            street = Street()
            put_on(street, servers)
            containers = {
                name: LocalContainer(compose_file.read_container(compose, name), street, folder)
                for name in compose_file.OURS
            }
            for name, container in containers.items():
                street.put(f"{name}:8080", f"{container.address}:8080")
            with run_all(containers.pop("migrate"), containers):
                yield Project(compose, servers, containers)


def test_a_customer_gets_everything_through_the_published_port(project: Project) -> None:
    key = project.containers["auth"].run("llmring-api", "keys", "create", "--operator")
    expect_everything_works(project.url, key)


def test_the_health_check_of_every_server_works(project: Project) -> None:
    for kind, server in project.servers.items():
        assert is_healthy(kind, server, project.compose["services"][kind]), kind


def test_the_health_check_of_a_process_notices_when_it_is_frozen(project: Project) -> None:
    registry = project.containers["registry"]
    assert registry.is_ready()
    registry.pause()
    try:
        assert not registry.is_ready()
    finally:
        registry.resume()


def test_prometheus_finds_metrics_at_every_process(project: Project) -> None:
    config = read_yaml(ROOT / "deploy" / "compose" / "prometheus.yml")
    [job] = [each for each in config["scrape_configs"] if each["job_name"] == "llmring"]
    places = {name: each["port"] for each in job["dns_sd_configs"] for name in each["names"]}
    assert places.keys() == project.containers.keys()
    for name, port in places.items():
        answer = httpx.get(f"http://{project.containers[name].address}:{port}/metrics", timeout=10)
        assert answer.status_code == 200, name
        assert "# TYPE" in answer.text, name
    public = httpx.get(f"{project.url}/metrics", timeout=10)
    assert public.status_code == 404
