"""The server keeps what its own OpenAPI document promises, whatever it is sent."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import httpx
import pytest

from tests.live.process import ServerProcess
from tests.receipts.test_privacy import PATH, WALKS

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_generated_requests_get_documented_answers(data_dir: Path, tmp_path: Path) -> None:
    """All checks on every path, with a key that may everything: no 500, nothing undocumented.

    LLMRING_TEST_EXAMPLES is how many are tried for each path beyond the edge cases of its schema. The
    server is the test's own: prices are published and accounts are changed.
    """
    server = ServerProcess(data_dir)
    server.start()
    try:
        done = run_schemathesis(server, tmp_path)
    finally:
        assert server.stop() == 0
    print(done.stdout[-1500:])
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated
    assert int(generated[1]) > 1000


def run_schemathesis(server: ServerProcess, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "--config-file",
            CONFIGURATION,
            "run",
            f"{server.url}/openapi.json",
            "--header",
            f"X-API-Key: {server.operator_key}",
            "--continue-on-failure",
            "--max-examples",
            os.environ.get("LLMRING_TEST_EXAMPLES", "3"),
            "--seed",
            os.environ.get("LLMRING_OPENAPI_SEED", "1"),
            "--no-color",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=7000,
        check=False,
    )


def test_the_document_names_the_media_types_of_exports(server: ServerProcess) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    content = document["paths"]["/api/v1/logs"]["get"]["responses"]["200"]["content"]
    assert content.keys() == {"application/json", "text/csv", "application/x-ndjson"}


def test_of_the_receipts_only_what_was_walked_is_open_to_all(server: ServerProcess) -> None:
    """A new path that the gateway lets pass without a key fails here until test_privacy walks it."""
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    asked = {(method, path) for path in paths if path.startswith(PATH) for method in paths[path]}
    assert asked > WALKS.keys()
    for method, path in asked:
        answer = httpx.request(method, server.url + path.replace("{receipt_id}", str(uuid.uuid4())))
        assert (answer.status_code == 401) != ((method, path) in WALKS), f"{method} {path}: {answer.text}"
