"""The specification's own code samples run as they are written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.conftest import Programs
from tests.client.fake import FakeServer, Reply, open_fake
from tests.client.provider import answer_chat
from tests.live.conftest import Account
from tests.live.process import ServerProcess

pytestmark = pytest.mark.client

HERE = Path(__file__).parent
SECTIONS = [
    "Configuration",
    "Example Integration Flow",
    "Error Handling",
    "Migration, step 1",
    "Migration, step 2",
    "Migration, step 3",
    "Webhook",
    "Custom Metadata",
    "Multi-Tenant",
    "Debug Logging",
    "Appendix",
]


def test_every_sample_runs_and_its_usage_arrives(
    built: Callable[[str | None], Programs], account: Account, server: ServerProcess, fake: FakeServer
) -> None:
    hook = {"id": "w1", "url": "https://your-app.com/webhooks/llmring", "events": ["model.added"]}
    fake.answer(Reply(201, hook))
    with open_fake() as provider:
        provider.handler = answer_chat
        printed = built("llmring==1.4.0").run(
            str(HERE / "run_samples.py"),
            str(HERE / "samples.md"),
            server.url,
            account.key,
            fake.url,
            OPENAI_API_KEY="sk-any",
            OPENAI_BASE_URL=f"{provider.url}/v1",
        )
    lines = printed.splitlines()
    assert json.loads(lines[-1]) == SECTIONS
    assert [line for line in lines if line.startswith(("Model", "Max", "Input", "Total"))] == [
        "Model: gpt-4o-mini",
        "Max context: 128000",
        "Input cost: $0.15/M",
        "Total cost: $0",
        "Total requests: 0",
    ]
    assert any(line.startswith("Signature: ") for line in lines)
    assert fake.seen[0].body["events"] == ["model.added", "price.changed", "model.deprecated"]

    rows = account.logs(limit=500)
    origins = sorted(row["origin"] for row in rows)
    # Rings of Configuration, Example Integration Flow, Migration step 3, Custom Metadata and Appendix.
    assert origins == ["environment", "errors", *["kept"] * 3, *["llmring"] * 5, "tenant-123"]
    for row in rows:
        assert row["cost_status"] == "priced"
        if row["origin"] != "errors":
            counts = (row["input_tokens"], row["cached_input_tokens"], row["output_tokens"])
            assert (*counts, row["reasoning_tokens"]) == (1200, 200, 350, 50)
            assert row["cost"] == 0.000375
            assert 0 < row["latency_ms"] < 60_000
    metadata = [row["metadata"] for row in rows if "user_id" in (row["metadata"] or {})]
    assert {each.get("session") or each["session_id"] for each in metadata} == {"sess456"}
    assert len(metadata) == 2
