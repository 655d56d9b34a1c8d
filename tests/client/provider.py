"""A provider of models that speaks OpenAI's protocol, and always says the same."""

import json
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
    if seen.body.get("stream"):
        return _stream(seen.body["model"], usage)
    message = {"role": "assistant", "content": "Hello yourself"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": seen.body["model"]}
    return Reply(200, body | {"choices": [choice], "usage": usage})


def _stream(model: str, usage: dict[str, Any]) -> Reply:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model}
    delta = {"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    # The published package 1.4.0 passes over a usage that comes in a chunk of its own, as OpenAI sends it.
    chunks = [head | {"choices": [delta]}, head | {"choices": [end], "usage": usage}]
    lines = [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]
    body = "".join(f"data: {line}\n\n" for line in lines).encode()
    return Reply(200, body, {"Content-Type": "text/event-stream"})
