"""The published package sends its usage through the queue."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import Programs
from tests.client.fake import open_fake
from tests.client.provider import answer_chat
from tests.live.conftest import Account
from tests.live.process import ServerProcess

pytestmark = pytest.mark.client


def test_rings_sessions_streams_and_decorators_send_through_the_queue(
    built: Callable[[str | None], Programs], account: Account, server: ServerProcess
) -> None:
    program = str(Path(__file__).parent / "run_attached.py")
    with open_fake() as provider:
        provider.handler = answer_chat
        printed = built("llmring==1.4.0").run(
            program,
            server.url,
            account.key,
            "http://127.0.0.1:9",
            OPENAI_API_KEY="sk-any",
            OPENAI_BASE_URL=f"{provider.url}/v1",
        )
    found = json.loads(printed.splitlines()[-1])
    assert found["sent"] == 6
    assert found["pending"] == 1
    assert found["anthropic"] == {
        "input_tokens": 22,
        "output_tokens": 5,
        "cached_input_tokens": 3,
        "cache_write_5m_tokens": 5,
        "cache_write_1h_tokens": 4,
        "reasoning_tokens": 0,
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in account.logs():
        rows.setdefault(row["origin"], []).append(row)
    assert {origin: len(each) for origin, each in rows.items()} == {
        "attached": 2,
        "costly": 1,
        "session": 1,
        "decorated": 1,
        "decorated stream": 1,
        "plain": 1,
        "after the end": 1,
        "after the end stream": 1,
    }
    assert {row["cost_status"] for row in rows["attached"]} == {"priced"}
    assert "u1" in {row["metadata"].get("user_id") for row in rows["attached"]}
    assert rows["costly"][0]["cost_status"] == "client"
    assert rows["session"][0]["id_at_origin"] == found["conversation"]
    assert rows["decorated"][0]["alias"] == "quick"
    assert rows["decorated stream"][0]["input_tokens"] == 7
