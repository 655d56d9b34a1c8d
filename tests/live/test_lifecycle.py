"""Starting, stopping and starting again."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.live.process import ServerProcess
from tests.servers.process import find_free_port

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


@pytest.fixture
def own(data_dir: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, started and not stopped yet."""
    process = ServerProcess(data_dir)
    process.start()
    yield process
    process.stop()


def postgres_of(data_dir: Path) -> list[int]:
    """The processes of the embedded Postgres."""
    folder = str(data_dir / "postgres")
    return [p.pid for p in psutil.process_iter(["cmdline"]) if folder in (p.info["cmdline"] or [])]


def test_a_first_start_is_quick_and_gives_the_operator_a_key_that_only_its_owner_can_read(
    data_dir: Path,
) -> None:
    process = ServerProcess(data_dir)
    try:
        assert process.start() < 15
        key_file = data_dir / "operator.key"
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        assert process.operator_key in process.log.read_text()
        headers = {"X-API-Key": process.operator_key}
        assert httpx.get(f"{process.url}/api/v1/admin/accounts", headers=headers).status_code == 200
    finally:
        assert process.stop() == 0
    assert postgres_of(data_dir) == []


def test_everything_survives_a_stop_and_a_kill_and_the_key_is_not_shown_again(own: ServerProcess) -> None:
    headers = {"X-API-Key": own.operator_key}
    first = httpx.post(f"{own.url}/api/v1/log", json=CALL, headers=headers).json()
    registry = httpx.get(f"{own.url}/registry/v/2026.01.02/registry.json").content
    public = httpx.get(f"{own.url}/api/v1/receipts/public-keys.json").json()
    assert own.stop() == 0
    shown = own.log.read_text().count(own.operator_key)
    own.start()
    second = httpx.post(f"{own.url}/api/v1/log", json=CALL, headers=headers).json()
    own.kill()
    assert postgres_of(own.data_dir), "Postgres is a process of its own and outlives us"
    own.start()
    rows = httpx.get(f"{own.url}/api/v1/logs", headers=headers).json()
    assert [row["id"] for row in rows] == [second["log_id"], first["log_id"]]
    assert httpx.get(f"{own.url}/registry/v/2026.01.02/registry.json").content == registry
    assert httpx.get(f"{own.url}/api/v1/receipts/public-keys.json").json() == public
    assert own.log.read_text().count(own.operator_key) == shown == 1
    assert own.stop() == 0
    assert postgres_of(own.data_dir) == [], "also after a kill, the next stop leaves nothing running"


def test_it_recovers_when_postgres_is_killed_as_well(own: ServerProcess) -> None:
    headers = {"X-API-Key": own.operator_key}
    log_id = httpx.post(f"{own.url}/api/v1/log", json=CALL, headers=headers).json()["log_id"]
    own.kill()
    for pid in postgres_of(own.data_dir):
        os.kill(pid, signal.SIGKILL)
    own.start()
    assert httpx.get(f"{own.url}/api/v1/logs/{log_id}", headers=headers).status_code == 200


def test_a_terminated_server_finishes_what_it_has_begun(own: ServerProcess) -> None:
    headers = {"X-API-Key": own.operator_key}
    accepted: list[str] = []
    refused: list[int] = []

    def send() -> None:
        with httpx.Client(base_url=own.url, headers=headers, timeout=20) as client:
            while True:
                try:
                    answer = client.post("/api/v1/log", json=CALL)
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    accepted.append(answer.json()["log_id"])
                else:
                    refused.append(answer.status_code)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    started = time.monotonic()
    assert own.stop() == 0
    assert time.monotonic() - started < 20
    for thread in threads:
        thread.join()
    assert accepted
    assert set(refused) <= {503}
    own.start()
    text = httpx.get(f"{own.url}/api/v1/logs", params={"format": "csv"}, headers=headers).text
    assert {line.split(",", 1)[0] for line in text.splitlines()[1:]} >= set(accepted)


@pytest.mark.parametrize("after_s", [0.3, 0.7, 0.9, 1.1, 1.3, 1.6])
def test_a_start_that_is_terminated_leaves_nothing_running(data_dir: Path, after_s: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "services", "serve"],
        env={**os.environ, "LLMRING_DATA_DIR": str(data_dir), "LLMRING_PORT": str(find_free_port())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    time.sleep(after_s)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM), errors.decode()  # by the signal only before it began
    assert b"Traceback" not in errors
    assert postgres_of(data_dir) == []


def test_a_second_process_on_the_same_data_is_refused(own: ServerProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services", "serve"],
        env={**os.environ, "LLMRING_DATA_DIR": str(own.data_dir), "LLMRING_PORT": str(own.port + 1)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Another process is using the data directory" in done.stderr
    assert httpx.get(f"{own.url}/health").json()["status"] == "healthy"


def test_wrong_settings_are_all_named_at_once(data_dir: Path) -> None:
    wrong = {
        "LLMRING_PORT": "99999",
        "LLMRING_LOG_LEVEL": "loud",
        "LLMRING_EVENT_LOG_RETENTION_DAYS": "0",
        "LLMRING_EVENT_LOG_ACCEPTED_RETENTION_DAYS": "always",
    }
    done = subprocess.run(
        [sys.executable, "-m", "services", "serve"],
        env={**os.environ, **wrong, "LLMRING_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert [name for name in wrong if name not in done.stderr] == []
    assert "Traceback" not in done.stderr
