"""The published client, unchanged, in an environment of its own."""

import csv
import io
import json
import os
import re
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.client_environment import install_client
from tests.live.conftest import Account
from tests.live.process import ServerProcess

pytestmark = pytest.mark.client

CLIENT = "llmring==1.4.0"

PROGRAM = """
import asyncio, json, os, sys
from llmring.schemas import LLMRequest, LLMResponse, Message
from llmring.server_client import ServerClient
from llmring.services.logging_service import LoggingService

async def main():
    url, key = os.environ["LLMRING_SERVER_URL"], os.environ["LLMRING_API_KEY"]
    async with ServerClient(base_url=url, api_key=key) as client:
        posted = await client.post("/api/v1/log", json={
            "model": "gpt-4o-mini", "provider": "openai", "input_tokens": 1000, "output_tokens": 100,
            "cached_input_tokens": 0, "latency_ms": 812, "origin": "program", "metadata": {"feature": "chat"},
        })
        for conversations in (False, True):
            service = LoggingService(client, log_metadata=True,
                                     log_conversations=conversations, origin="service")
            await service.log_request_response(
                request=LLMRequest(messages=[Message(role="user", content="Hello")], model="fast"),
                response=LLMResponse(
                    content="Hi", model="gpt-4o-mini", finish_reason="stop",
                    usage={"prompt_tokens": 2000, "completion_tokens": 300, "cached_tokens": 500},
                ),
                alias="fast", provider="openai", model="gpt-4o-mini",
                cost_info={"total_cost": 0.000405}, profile="default",
            )
        stats = await client.get("/api/v1/stats",
                                 params={"start_date": None, "end_date": "", "group_by": "day"})
    print(json.dumps({"posted": posted, "stats": stats}))

asyncio.run(main())
"""


@pytest.fixture(scope="session")
def client_bin() -> Path:
    """The programs of an environment with the published client, made at the first use."""
    return install_client(CLIENT)


class Shell:
    """Runs programs of the client's environment as a user of the account would."""

    def __init__(self, programs: Path, account: Account, url: str, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")},
            "LLMRING_SERVER_URL": url,
            "LLMRING_API_KEY": account.key,
            "HOME": str(folder),
        }

    def run(self, program: str, *arguments: str, **variables: str) -> str:
        """What it prints; it must succeed."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def shell(client_bin: Path, account: Account, server: ServerProcess, tmp_path: Path) -> Shell:
    """The client's programs, with the account's key in the environment."""
    return Shell(client_bin, account, server.url, tmp_path)


def test_its_server_client_and_logging_service_record_usage(shell: Shell, account: Account) -> None:
    found: dict[str, Any] = json.loads(shell.run("python", "-c", PROGRAM))
    assert found["posted"]["cost_status"] == "priced"
    assert found["stats"]["total_requests"] == 2
    rows = account.logs()
    service = [row for row in rows if row["origin"] == "service"]
    assert (
        len(service) == 1
    )  # asked to log conversations, the client warns that there are none here, and goes on
    [row] = service
    assert (row["alias"], row["profile"], row["cost"], row["cost_status"]) == (
        "fast",
        "default",
        0.000405,
        "client",
    )
    assert row["metadata"] == {"model_alias": "openai:gpt-4o-mini", "finish_reason": "stop"}
    assert (row["input_tokens"], row["output_tokens"], row["cached_input_tokens"]) == (2000, 300, 500)


def test_llmring_server_init_and_status_accept_the_key(shell: Shell) -> None:
    written = shell.run("llmring", "server", "init", "--env-file", "llmring.env")
    assert "status=healthy" in written
    assert (shell.folder / "llmring.env").read_text().count("llmr_pk_") == 1
    status = shell.run("llmring", "server", "status")
    assert "status=healthy database=connected" in status
    assert "API key accepted" in status


def test_llmring_server_logs_and_stats_print_what_was_recorded(shell: Shell, account: Account) -> None:
    for number in range(3):
        account.log(
            provider="openai", model="gpt-4o-mini", input_tokens=1000 + number, output_tokens=7, origin="cli"
        )
    text = shell.run("llmring", "server", "logs", "--output", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["input_tokens"] for row in rows] == ["1002", "1001", "1000"]
    assert all(float(row["cost"]) > 0 for row in rows)
    assert len(json.loads(shell.run("llmring", "server", "logs", "--json", "--limit", "2"))) == 2
    assert "openai" in text
    assert "1000→7" in shell.run("llmring", "server", "logs", "--origin", "cli")
    stats = json.loads(shell.run("llmring", "server", "stats", "--json"))
    assert stats["summary"]["total_requests"] == 3


def test_llmring_register_gives_a_key_that_works(shell: Shell, server: ServerProcess) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    arguments = ["register", "--email", email, "--accept-terms", "--non-interactive", "--server", server.url]
    printed = shell.run("llmring", *arguments)
    assert "Account created" in printed
    key = next(word for word in printed.split() if word.startswith("llmr_pk_"))
    status = shell.run("llmring", "server", "status", LLMRING_API_KEY=key)
    assert "API key accepted" in status
    _set_first_password(server, email)


def _set_first_password(server: ServerProcess, email: str) -> None:
    """The link that the command line's registration had sent: without a mail server it lies in a folder."""
    folder = server.data_dir / "mail"
    deadline = time.monotonic() + 20
    while not (found := [path for path in folder.glob("*.eml") if email in path.read_text()]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    [path] = found
    assert path.stat().st_mode & 0o777 == 0o600
    [token] = re.findall(rf"^{re.escape(server.url)}/password-reset#(\S+)$", path.read_text(), re.MULTILINE)
    password = "a first horse battery"
    with httpx.Client(base_url=server.url) as browser:
        assert browser.get("/password-reset").status_code == 200
        body = {"token": token, "new_password": password}
        answer = browser.post("/api/v1/password-reset/confirm", json=body)
        assert (answer.status_code, answer.json()["api_keys_still_valid"]) == (200, 1)
        assert browser.post("/api/v1/login", json={"email": email, "password": password}).status_code == 200
        me = browser.get("/api/v1/auth/me").json()
        assert (me["email"], me["email_verified"], me["api_key"]["live_keys"]) == (email, True, 2)
        assert browser.get("/api/v1/stats").status_code == 200
        evil = {"Origin": "https://evil.test"}
        assert browser.post("/api/v1/auth/logout", headers=evil).status_code == 403
        assert browser.post("/api/v1/auth/logout", headers={"Origin": server.url}).status_code == 204
        assert browser.get("/api/v1/auth/me").status_code == 401
