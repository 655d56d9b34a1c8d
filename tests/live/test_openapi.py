"""The server keeps what its own OpenAPI document promises, whatever it is sent."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import httpx
import pytest

from tests.live.conftest import Account
from tests.live.process import ServerProcess
from tests.receipts.test_privacy import PATH, WALKS

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_generated_requests_get_documented_answers(
    account: Account, server: ServerProcess, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "run",
            f"{server.url}/openapi.json",
            "--header",
            f"X-API-Key: {account.key}",
            "--checks",
            CHECKS,
            "--max-examples",
            os.environ.get("LLMRING_TEST_EXAMPLES", "20"),
            "--seed",
            os.environ.get("LLMRING_OPENAPI_SEED", "1"),
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


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
