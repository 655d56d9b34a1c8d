"""Processes start in any order, tell the truth about it, and end in order."""

import secrets
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.live.conftest import open_folder
from tests.production.conftest import CALL, Customer, Town
from tests.production.processes import NAMES, PROGRAM, Deployment, Process, wait_until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("production"),
]


def test_processes_wait_for_their_servers_and_for_the_migration(own_server: StartServer) -> None:
    postgres, kafka = own_server("postgres"), own_server("kafka")
    postgres.stop()
    kafka.stop()
    with open_folder() as folder:
        deployment = Deployment(
            folder,
            postgres=f"postgresql://postgres@{postgres.address}/postgres",
            kafka=kafka.address,
            redis="redis://127.0.0.1:1/0",
        )
        try:
            for process in deployment.processes.values():
                process.spawn()
            for process in deployment.processes.values():
                wait_until(lambda process=process: lives(process), 30)
                answer = httpx.get(f"{process.url}/health/ready")
                assert (answer.status_code, answer.json()["status"]) == (503, "starting")
                assert answer.headers["retry-after"]
                metrics = httpx.get(f"{process.url}/metrics").status_code
                assert metrics == (503 if process.name == "gateway" else 200)
            assert httpx.get(f"{deployment.url}/registry").status_code == 503
            postgres.start()
            kafka.start()
            wait_until(lambda: "run `llmring-api migrate`" in deployment["ingest"].tail(), 20)
            assert not deployment["ingest"].is_ready(), "it is ready before the migration"
            deployment.run("migrate")
            for process in deployment.processes.values():
                process.wait_ready()
            assert httpx.get(f"{deployment.url}/registry").status_code == 200
        finally:
            assert set(deployment.stop().values()) == {0}


def lives(process: Process) -> bool:
    """Whether its liveness probe passes."""
    try:
        return httpx.get(f"{process.url}/health/live").status_code == 200
    except httpx.TransportError:
        return False


def test_a_process_that_still_waits_ends_in_order_on_sigterm(tmp_path: Path) -> None:
    process = Process("registry", tmp_path, environment_of_nowhere())
    process.spawn()
    wait_until(lambda: lives(process), 30)
    assert process.stop() == 0


def environment_of_nowhere() -> dict[str, str]:
    """Settings that lead to servers that are not there."""
    return {
        "PATH": "/usr/bin:/bin",
        "LLMRING_DATABASE_URL": "postgresql://postgres@127.0.0.1:1/postgres",
        "LLMRING_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "LLMRING_PRINCIPAL_PUBLIC_KEYS": "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vntlvr/nNpzoSy0=",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_process_without_its_settings_ends_at_once_and_names_them(name: str, tmp_path: Path) -> None:
    process = Process(name, tmp_path, {"PATH": "/usr/bin:/bin"})
    done = subprocess.run(
        process.command, check=False, env=process.environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "is required" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_seed_that_is_none_is_named(tmp_path: Path) -> None:
    environment = {**environment_of_nowhere(), "LLMRING_PRINCIPAL_PUBLIC_KEYS": "nonsense"}
    process = Process("registry", tmp_path, environment)
    done = subprocess.run(
        process.command, check=False, env=process.environment, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, "LLMRING_PRINCIPAL_PUBLIC_KEYS" in done.stderr) == (1, True)


@pytest.mark.parametrize("name", ["gateway", "ingest"])
def test_sigterm_under_load_loses_nothing_that_was_answered(
    town: Town, customer: Customer, name: str
) -> None:
    """Case P27 (a)."""
    outcomes: list[int | str] = []
    lock = threading.Lock()

    def send(number: int) -> None:
        with httpx.Client(base_url=town.deployment.url, headers={"X-API-Key": customer.key}) as client:
            for turn in range(25):
                try:
                    answer = client.post(
                        "/api/v1/log", json={**CALL, "idempotency_key": f"{name}-{number}-{turn}"}, timeout=30
                    )
                except httpx.TransportError:
                    with lock:
                        outcomes.append("closed")
                    return
                with lock:
                    outcomes.append(answer.status_code)
                    if answer.status_code == 200:
                        customer.acknowledged[answer.json()["log_id"]] = answer.json()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    wait_until(lambda: outcomes.count(200) >= 100, 30)
    began = time.monotonic()
    assert town.deployment[name].stop() == 0
    assert time.monotonic() - began < 20
    for thread in threads:
        thread.join(timeout=60)
    town.deployment[name].start()
    assert set(outcomes) <= {200, 503, "closed"}, outcomes
    customer.expect_all_counted()


@pytest.mark.parametrize("name", ["rater", "issuer"])
def test_a_consumer_killed_at_work_leaves_no_gap_and_no_double(
    town: Town, customer: Customer, name: str
) -> None:
    """Case P24."""

    def burst(prefix: str) -> None:
        logs: list[dict[str, Any]] = [
            {**CALL, "idempotency_key": f"{prefix}{number}-{secrets.token_hex(4)}"} for number in range(100)
        ]
        answer = customer.http.post("/api/v1/log/batch", json={"logs": logs})
        for result in answer.json()["results"]:
            customer.acknowledged[result["log_id"]] = result

    for turn in range(3):
        burst(f"{name}{turn}")
        town.deployment[name].kill()
        town.deployment[name].spawn()
    town.deployment[name].wait_ready()
    customer.expect_all_counted()


def test_two_of_each_consumer_share_the_work(town: Town, customer: Customer) -> None:
    deployment = town.deployment
    second = [
        Process(name, deployment.folder, deployment.processes[name].environment)
        for name in ("rater", "issuer")
    ]
    for process in second:
        process.start()
    try:
        others = [town.open_account() for _ in range(6)]
        for turn in range(40):
            for other in (customer, *others):
                other.log(idempotency_key=f"shared{turn}")
        for other in (customer, *others):
            other.expect_all_counted()
            other.http.close()
    finally:
        assert [process.stop() for process in second] == [0, 0]


def test_five_migrations_at_once_are_one(own_server: StartServer) -> None:
    """Case B7."""
    postgres, kafka = own_server("postgres"), own_server("kafka")
    environment = {
        **environment_of_nowhere(),
        "LLMRING_DATABASE_URL": f"postgresql://postgres@{postgres.address}/postgres",
        "LLMRING_KAFKA_BOOTSTRAP": kafka.address,
    }
    runs = [
        subprocess.Popen([*PROGRAM, "migrate"], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    time.sleep(1.5)
    runs[0].kill()
    outputs = [run.communicate(timeout=90)[0] for run in runs]
    assert [run.returncode for run in runs[1:]] == [0] * 4
    applied = [line for output in outputs[1:] for line in output.splitlines() if line.startswith("applied")]
    assert len(applied) == len(set(applied))
