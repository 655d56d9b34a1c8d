"""The published client's registry, unchanged, through the gateway."""

import json
from typing import Any

import httpx
import pytest

from tests.live.process import ServerProcess
from tests.live.test_client import Shell, client_bin, shell  # noqa: F401 - fixtures

pytestmark = pytest.mark.client

ASK = """
import asyncio, json, os, sys
from pathlib import Path
from llmring.registry import RegistryClient

async def main():
    url = os.environ["LLMRING_SERVER_URL"] + "/registry"
    client = RegistryClient(registry_url=url, cache_dir=Path("cache"))
    found = await eval(sys.argv[1], {"client": client, "asyncio": asyncio})
    print(json.dumps(found, default=lambda value: value.model_dump(mode="json")))

asyncio.run(main())
"""

COMMAND = """
import os, sys
from llmring.registry import RegistryClient
RegistryClient.DEFAULT_REGISTRY_URL = os.environ["LLMRING_SERVER_URL"] + "/registry"
from llmring.cli import main
for command in sys.argv[1:]:
    sys.argv = ["llmring", *command.split()]
    print(f"$ {command}", flush=True)
    try:
        failed = main()
    except SystemExit as exit:
        failed = exit.code
    assert not failed, command
"""


def ask(shell: Shell, call: str) -> Any:  # noqa: F811
    printed = shell.run("python", "-c", ASK, call).splitlines()
    assert len(printed) == 1, printed  # it prints a warning for each entry that it cannot read
    return json.loads(printed[0])


def test_it_reads_the_current_models_of_each_provider(shell: Shell, server: ServerProcess) -> None:  # noqa: F811
    served = httpx.get(f"{server.url}/registry.json").json()["models"]
    providers = ("openai", "anthropic", "google")
    calls = [f"client.fetch_current_models('{provider}')" for provider in providers]
    found = ask(shell, f"asyncio.gather({', '.join(calls)})")
    for provider, models in zip(providers, found, strict=True):
        expected = [model for model in served.values() if model["provider"] == provider]
        assert [model["model_name"] for model in models] == [model["model_name"] for model in expected]
        for read, sent in zip(models, expected, strict=True):
            for name in read.keys() & sent.keys():
                if "date" not in name and (name, sent[name]) != ("api_endpoint", "embeddings"):
                    assert read[name] == sent[name], (sent["model_name"], name)


def test_it_reads_a_pinned_version_as_it_was(shell: Shell) -> None:  # noqa: F811
    counts = {"anthropic": 9, "google": 5, "openai": 7}
    calls = [f"client.fetch_version('{name}', {n + 1})" for name, last in counts.items() for n in range(last)]
    # The client takes seconds to start, so all is asked at once.
    *versions, models = ask(shell, f"asyncio.gather({', '.join(calls)}, client.fetch_models('openai', 2))")
    assert [each["version"] for each in versions] == [n + 1 for last in counts.values() for n in range(last)]
    pinned = versions[2]
    assert (pinned["provider"], pinned["version"], len(pinned["models"])) == ("anthropic", 3, 6)
    assert pinned["updated_at"] == "2025-09-28T18:25:49.129813Z"
    assert {model["provider"] for model in models} == {"openai"}


def test_it_sees_what_drifted_since_a_pinned_version(shell: Shell, server: ServerProcess) -> None:  # noqa: F811
    calls = [f"client.check_drift('google', {number})" for number in (1, 3, 5)]
    oldest, older, none = ask(shell, f"asyncio.gather({', '.join(calls)})")
    assert (none["has_drift"], none["current_version"]) == (False, 5)
    assert (older["has_drift"], older["current_version"], older["versions_behind"]) == (True, 5, 2)
    assert len(older["added_models"]) == 28 - 13
    assert (older["removed_models"], older["price_changes"]) == ([], [])
    price = "dollars_per_million_tokens_input"
    [was, now] = (
        next(
            model[price]
            for model in httpx.get(f"{server.url}/registry/google/v/{number}/models.json").json()["models"]
            if model["model_name"] == "gemini-2.5-pro"
        )
        for number in (1, 5)
    )
    [change] = oldest["price_changes"]
    assert was != now
    assert (change["model"], change["old_input_cost"], change["new_input_cost"]) == (
        "gemini-2.5-pro",
        was,
        now,
    )


def test_it_validates_models(shell: Shell) -> None:  # noqa: F811
    cases = {
        ("gpt-4o", None): True,
        ("gpt-40", None): False,
        ("o1-mini", None): False,  # retired
        ("o1-mini", 5): False,
        ("gpt-4o", 1): True,
        ("gpt-5", 1): False,
        ("gpt-5", 7): True,
    }
    calls = [f"client.validate_model('openai', '{name}', {version})" for name, version in cases]
    *valid, current = ask(shell, f"asyncio.gather({', '.join(calls)}, client.get_current_version('openai'))")
    assert (valid, current) == (list(cases.values()), 7)


def test_its_commands_make_validate_and_bump_a_lockfile(shell: Shell) -> None:  # noqa: F811
    commands = (
        "lock init",
        "bind fast openai:gpt-4o-mini",
        "lock validate",
        "lock bump-registry",
        "lock bump-registry",
        "cache info",
        "info openai:gpt-4o --json",
        "cache clear",
    )
    keys = {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x"}
    printed = shell.run("python", "-c", COMMAND, *commands, **keys)
    made, _, validated, bumped, unchanged, cached, shown, cleared = (
        part.partition("\n")[2] for part in printed.split("$ ")[1:]
    )
    assert "Created lockfile with registry data" in made
    assert "All bindings are valid" in validated
    assert "couldn't" not in validated
    assert "openai: v0 → v7" in bumped
    assert "openai: v7 (unchanged)" in unchanged
    assert "openai_current" in cached
    assert json.loads(shown)["dollars_per_million_tokens_output"] == 10
    assert "cleared" in cleared
