"""A client that speaks ASGI to the gateway, and checks on every answer what every answer promises."""

import asyncio
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

ONCE = (
    "x-request-id",
    "x-content-type-options",
    "referrer-policy",
    "x-frame-options",
    "content-security-policy",
)
AT_MOST_ONCE = (
    "cache-control",
    "content-length",
    "content-type",
    "ratelimit",
    "strict-transport-security",
    "ratelimit-policy",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


async def ask(
    app: Any,
    method: str,
    target: str,
    headers: list[tuple[str, str]] = [],  # noqa: B006 - never changed
    body: bytes = b"",
    *,
    peer: str | None = "198.51.100.1",
    scheme: str = "http",
) -> Answer:
    raw_path, _, query = target.partition("?")
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    if body and not any(name == b"content-length" for name, _ in sent):
        sent.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"api.test"), *sent],
        "client": None if peer is None else (peer, 40000),
        "server": ("127.0.0.1", 8080),
        "state": {},
        "extensions": {},
    }
    before = dict(scope)
    asked = False
    messages: list[Any] = []

    async def receive() -> Any:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    assert scope == before, "the server's own scope was changed"
    return check(messages, method, query)


def check(messages: list[Any], method: str, query: str = "") -> Answer:
    assert [m["type"] for m in messages[:1]] == ["http.response.start"]
    assert all(m["type"] == "http.response.body" for m in messages[1:])
    assert not messages[-1].get("more_body")
    headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in messages[0]["headers"]]
    body = b"".join(m.get("body", b"") for m in messages[1:])
    answer = Answer(messages[0]["status"], headers, body)
    assert all(name == name.lower() for name, _ in headers)
    for name in ONCE:
        assert len(answer.all(name)) == 1, f"{name}: {answer.all(name)}"
    for name in AT_MOST_ONCE:
        assert len(answer.all(name)) <= 1, f"{name}: {answer.all(name)}"
    limits = [answer.all(f"x-ratelimit-{part}") for part in ("limit", "remaining", "reset")]
    assert len({len(found) for found in limits}) == 1
    assert all(found[0].isdigit() for found in limits if found)
    assert (answer.get("retry-after") is not None) == (answer.status in (429, 503))
    assert not [name for name, _ in headers if name.startswith("x-llmring") and name != "x-llmring-complete"]
    if method == "HEAD":
        assert body == b""
    elif answer.status >= 400 and answer.get("content-type") != "application/json":
        check_problem(answer)
    return answer


def check_problem(answer: Answer) -> None:
    assert answer.get("content-type") == "application/problem+json"
    problem = answer.json
    assert problem["status"] == answer.status
    assert problem["type"].startswith("https://llmring.ai/problems/")
    assert problem["title"]
    assert problem["detail"].strip()
    assert "Traceback" not in answer.body.decode()
    assert problem["request_id"] == answer.get("x-request-id")
    assert answer.get("cache-control") is not None
    assert (answer.get("www-authenticate") is not None) == (answer.status == 401)
