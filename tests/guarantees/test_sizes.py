"""How large a request may be."""

import json

import pytest

from shared.contracts.usage import MAX_BATCH_BODY_BYTES, MAX_LOG_BODY_BYTES
from tests.live.conftest import Account

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1}


@pytest.mark.parametrize(
    ("path", "limit", "body"),
    [
        ("/api/v1/log", MAX_LOG_BODY_BYTES, CALL),
        ("/api/v1/log/batch", MAX_BATCH_BODY_BYTES, {"logs": [CALL]}),
    ],
)
def test_a_body_of_the_limit_is_taken_and_one_byte_more_is_refused(
    account: Account, path: str, limit: int, body: dict[str, object]
) -> None:
    text = json.dumps(body)
    for size, status in ((limit, 200), (limit + 1, 413)):
        padded = text + " " * (size - len(text))
        answer = account.http.post(path, content=padded, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text
    assert account.stats()["total_requests"] == 1
