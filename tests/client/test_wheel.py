"""What is installed is the built wheel: alone, and beside the published package of the same name."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.conftest import KEY, Programs
from tests.client.environments import build_wheel
from tests.client.fake import FakeServer, accept_all

pytestmark = pytest.mark.client

PROGRAM = """
import importlib.util, json, sys
import llmring.api
from llmring.api import APIService, exceptions
with APIService(sys.argv[1], sys.argv[2]) as api:
    api.queue_usage(model="openai:gpt-4o-mini", input_tokens=7)
    state = api.flush()
found = importlib.util.find_spec("llmring")
print(json.dumps({
    "sent": state.sent, "namespace": found.origin is None,
    "ring": importlib.util.find_spec("llmring.service") is not None,
    "modules": sorted(name for name in sys.modules if name.split(".")[0] in ("services", "shared", "tests")),
}))
"""


@pytest.mark.parametrize("beside", [None, "llmring==1.4.0"])
def test_it_works_alone_and_beside_the_published_package(
    beside: str | None, built: Callable[[str | None], Programs], fake: FakeServer, tmp_path: Path
) -> None:
    fake.handler = accept_all
    programs = built(beside)
    found = json.loads(programs.run("-c", PROGRAM, fake.url, KEY))
    alone = beside is None
    assert found == {"sent": 1, "namespace": alone, "ring": not alone, "modules": []}
    if not alone:
        assert "llmring" in programs.run("-c", "import llmring; print(llmring.LLMRing)")
    with zipfile.ZipFile(build_wheel()) as archive:
        names = set(archive.namelist())
    assert "llmring/__init__.py" not in names
    assert {"llmring/api/__init__.py", "llmring/api/py.typed"} <= names


TYPED = """
from decimal import Decimal
from llmring.api import AsyncAPIService, SyncAPIService

def report(api: SyncAPIService) -> Decimal | None:
    return api.log_usage(model="m", input_tokens=1).cost

async def read(api: AsyncAPIService) -> Decimal:
    return (await api.get_usage_stats(origin="o")).total_cost
"""


def test_a_type_checker_knows_its_calls(built: Callable[[str | None], Programs], tmp_path: Path) -> None:
    python = built(None).folder / "python"
    wrong = 'def wrong(api: SyncAPIService) -> int:\n    return api.log_usage(modell="m")\n'
    outcomes = []
    for name, text in (("good", TYPED), ("bad", TYPED + wrong)):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        checker = [Path(sys.executable).parent / "mypy", "--strict"]
        done = subprocess.run(
            [*checker, "--python-executable", python, "--cache-dir", tmp_path / "cache", file],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        outcomes.append((done.returncode, done.stdout))
    assert outcomes[0][0] == 0, outcomes[0][1]
    assert outcomes[1][0] == 1
    assert "modell" in outcomes[1][1]
    assert 'expected "int"' in outcomes[1][1]
