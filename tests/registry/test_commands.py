"""`llmring-api registry`, run as an operator runs it."""

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from click.testing import CliRunner

from services.cli.main import main
from tests.live.conftest import open_folder
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import Running, Start
from tests.registry.test_announcing import listening

IN = "dollars_per_million_tokens_input"
OUT = "dollars_per_million_tokens_output"


class Printed(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.out.splitlines()]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")}
    return {**kept, "LLMRING_LOG_FORMAT": "text", **settings}


async def run(url: str, *arguments: str, stdin: bytes = b"") -> Printed:
    """A command on a database of one's own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "registry", *arguments),
        env=environment({"LLMRING_DATABASE_URL": url}),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate(stdin)
    return Printed(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
async def card(start: Start) -> Running:
    """The price card in a registry of long ago, since commands go by the clock of the machine."""
    running: Running = await start(at=datetime(2025, 3, 1, tzinfo=UTC))
    await running.must_publish(*CARD.values())
    return running


def lines_of(*entries: dict[str, Any]) -> bytes:
    return msgspec.json.Encoder(decimal_format="number").encode_lines(entries)


async def test_publishing_by_command_is_publishing_over_http(card: Running) -> None:
    entries = lines_of(
        {"provider": "acme", "model_name": "new", IN: 1, OUT: 2},
        {"provider": "acme", "model_name": "penny", IN: 0.25, OUT: 0.4},
    )
    dry = await run(card.url, "publish", "-", "--dry-run", stdin=entries)
    assert dry.status == 0, dry.err
    assert dry.lines[:3] == [
        ["change", "of", "field", "old", "new"],
        ["price.changed", "acme:penny", IN, "0.1", "0.25"],
        ["model.added", "acme:new"],
    ]
    assert dry.out.splitlines()[-1].startswith("Would publish version ")
    assert dry.out.splitlines()[0].index("old") == dry.out.splitlines()[1].index("0.1")
    assert await card.versions() == ["2025.03.01"]
    async with listening(card) as hear:
        done = await run(card.url, "publish", "-", stdin=entries)
        version = (await card.versions())[0]
        assert [event.version for event in await hear(1)] == [version]
    assert (done.status, done.out.splitlines()[-1].split()[:3]) == (
        0,
        ["Published", "version", f"{version},"],
    )
    again = await run(card.url, "publish", "-", "--mode", "merge", stdin=entries)
    assert again.out == f"Nothing changed: version {version} says all this already.\n"


async def test_every_fault_of_a_file_stands_on_a_line_of_its_own(card: Running) -> None:
    entries = lines_of(
        {"provider": "acme", "model_name": "new", IN: -1, OUT: "2"},
        {"provider": "acme", "model_name": "penny", IN: 5, OUT: 0.4},
    )
    refused = await run(card.url, "publish", "-", stdin=entries)
    assert refused.status == 1
    assert [line.strip().split(": ")[0] for line in refused.err.splitlines()] == [
        "Error",
        f"models[0].{IN}",
        f"models[0].{OUT}",
        f"models[1].{IN}",
    ]
    for body, told in {
        b"{": "The body is not JSON",
        b'{"a": 1}\n{\n[': "line 2",
        b"3": "must hold a list of entries",
        b"[]": "must hold 1 to",
        b"": "The body is not JSON",
    }.items():
        printed = await run(card.url, "publish", "-", stdin=body)
        assert (printed.status, told in printed.err) == (1, True), printed
    assert await card.versions() == ["2025.03.01"]


async def test_a_leap_is_published_once_it_is_confirmed(card: Running) -> None:
    entries = lines_of({"provider": "acme", "model_name": "penny", IN: 5, OUT: 0.4})
    dry = await run(card.url, "publish", "-", "--dry-run", stdin=entries)
    assert "needs --confirm: models[0]" in dry.out
    assert (await run(card.url, "publish", "-", stdin=entries)).status == 1
    assert (await run(card.url, "publish", "-", "--confirm", stdin=entries)).status == 0
    few = lines_of({"provider": "acme", "model_name": "new", IN: 5})
    refused = await run(card.url, "publish", "-", "--mode", "replace", stdin=few)
    assert "mode: removes 15 of 15 models" in refused.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", "/no/such/file"],
        ["publish", "-", "--mode", "append"],
        ["publish", "-", "--effective-from", "soon"],
        ["publish", "-", "--effective-from", "9999-12-31T00:00:00Z"],
        ["import", "--from", "litellm"],
        ["import", "--from", "genai-prices", "/"],
        ["import", "--from", "somewhere"],
        ["show", "yesterday"],
        ["diff"],
    ],
)
def test_a_command_that_makes_no_sense_ends_with_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["registry", *arguments])
    assert (result.exit_code, "Usage:" in result.output) == (2, True), result.output


async def test_a_difference_is_complete_and_nothing_differs_from_itself(card: Running) -> None:
    changed = make_model(
        "penny",
        input="0.10",
        output="0.5",
        request="0.001",
        steps={5: {"input": "1"}},
        tiers={"flex": {"input": "0.05"}},
        is_active=False,
        max_tools=3,
        description="a\nb",
    )
    provider = {"acme": {"name": "Acme", "base_url": "https://acme.example"}}
    await card.must_publish(changed, make_model("one-more"), providers=provider)
    nothing = await run(card.url, "diff", "current", "current")
    assert nothing.out.startswith("Nothing differs")
    printed = await run(card.url, "diff", "2025.03.01", "2025.03.01.2")
    assert printed.status == 0, printed.err
    assert [tuple(line[:3]) for line in printed.lines[1:-1]] == [
        ("model.added", "acme:one-more"),
        ("model.changed", "acme:penny", "description"),
        ("price.changed", "acme:penny", OUT),
        ("price.changed", "acme:penny", "dollars_per_request"),
        ("model.changed", "acme:penny", "inactive_from"),
        ("model.deprecated", "acme:penny", "is_active"),
        ("price.changed", "acme:penny", f"long_context_steps.5.{IN}"),
        ("limit.changed", "acme:penny", "max_tools"),
        ("price.changed", "acme:penny", f"service_tiers.flex.{IN}"),
        ("capability.changed", "acme:penny", "supports_long_context_pricing"),
        ("provider.changed", "acme", "name"),
        ("provider.changed", "acme", "base_url"),
    ]
    document = json.loads((await run(card.url, "diff", "2025.03.01", "--json")).out)
    assert (document["from"], document["to"]) == ("2025.03.01", "2025.03.01.2")
    assert len(document["changes"]) == 10
    assert document["changes"][0]["new"]["model_name"] == "one-more"
    assert len(document["provider_changes"]) == 2


async def test_what_is_exported_comes_back_to_the_same(card: Running, tmp_path: Path) -> None:
    whole, acme = tmp_path / "whole.json", tmp_path / "acme.json"
    served = (await card.get("/registry/v/2025.03.01/registry.json")).content
    assert (await run(card.url, "export", "2025.03.01", "-o", str(whole))).status == 0
    assert whole.read_bytes() == served
    assert (await run(card.url, "export")).out.encode() == served
    acme.write_text((await run(card.url, "export", "--provider", "acme")).out)
    document = json.loads(acme.read_text())
    assert (document["provider"], document["version"], len(document["models"])) == ("acme", 1, 14)
    for back in (
        await run(card.url, "publish", "--mode", "replace", str(whole)),
        await run(card.url, "import", "--from", "provider-files", str(acme)),
    ):
        assert back.out.splitlines()[-1] == "Nothing changed: version 2025.03.01 says all this already.", back
    assert (await run(card.url, "export", "--provider", "nobody")).status == 1
    folder = await run(card.url, "export", "-o", str(tmp_path))
    assert (folder.status, folder.err.splitlines()[-1].endswith("is a folder")) == (2, True)
    assert await card.versions() == ["2025.03.01"]


async def test_versions_and_models_are_shown(card: Running) -> None:
    await card.must_publish(make_model("later"), effective_from="2999-01-01T00:00:00Z")
    listed = await run(card.url, "list")
    assert [line[:2] for line in listed.lines[1:]] == [
        ["2025.03.01.2", "2999-01-01T00:00:00Z"],
        ["2025.03.01", "*"],
    ]
    shown = await run(card.url, "show", "current")
    assert ["acme:penny", "0.1", "0.4", "-"] in shown.lines
    model = await run(card.url, "show", "current", "ACME/quill-1-mini-20260115")
    assert model.lines[0] == ["field", "acme:quill-1-mini"]
    assert [OUT, "1.6"] in model.lines
    tiers = await run(card.url, "show", "2025.03.01", "acme:quill-1")
    assert [f"service_tiers.batch.{IN}", "1.5"] in tiers.lines
    missing = await run(card.url, "show", "current", "acme:nothing")
    assert (missing.status, "has no model acme:nothing" in missing.err) == (1, True)
    assert (await run(card.url, "show", "2026.01.01")).status == 1


@pytest.mark.parametrize("postgres_schemas", [()], ids=["empty"])
async def test_a_database_of_ones_own_is_migrated_first(postgres_url: str) -> None:
    for arguments in (["import", "--from", "genai-prices"], ["list"]):
        printed = await run(postgres_url, *arguments)
        assert (printed.status, "run llmring-api migrate first" in printed.err) == (1, True), printed


@pytest.mark.slow
def test_a_fresh_deployment_gets_thousands_of_priced_models() -> None:
    with open_folder() as folder:

        def run_here(*arguments: str) -> Printed:
            done = subprocess.run(
                [sys.executable, "-m", "services", "registry", *arguments],
                env=environment({"LLMRING_DATA_DIR": str(folder / "data")}),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            return Printed(done.returncode, done.stdout, done.stderr)

        assert "There is no database" in run_here("list").err
        dry = run_here("import", "--from", "genai-prices", "--dry-run")
        assert dry.status == 0, dry.err
        assert len(run_here("list").lines) == 1 + 13
        done = run_here("import", "--from", "genai-prices")
        assert done.status == 0, done.err
        assert "web_searches_kcount" in done.out
        assert "more; --all shows them" in done.out
        assert len(run_here("import", "--from", "genai-prices", "--all").lines) > 2_000
        newest = run_here("list").lines[1]
        assert newest[1] == "*"
        assert int(newest[3]) > 2_300
        assert [IN, "2"] in run_here("show", "current", "openai:gpt-4.1").lines
