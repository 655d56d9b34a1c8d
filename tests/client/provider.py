"""A provider of models that speaks OpenAI's protocol, and always says the same."""

from typing import Any

from tests.client.fake import Reply, Seen


def answer_chat(seen: Seen) -> Reply:
    """`POST /v1/chat/completions`."""
    assert seen.path == "/v1/chat/completions", seen.path
    usage: dict[str, Any] = {
        "prompt_tokens": 1200,
        "completion_tokens": 350,
        "total_tokens": 1550,
        "prompt_tokens_details": {"cached_tokens": 200},
        "completion_tokens_details": {"reasoning_tokens": 50},
    }
    message = {"role": "assistant", "content": "Hello yourself"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": seen.body["model"]}
    return Reply(200, body | {"choices": [choice], "usage": usage})
