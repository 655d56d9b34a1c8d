"""What one account can do to another, over every path of the OpenAPI document: nothing. Case P40."""

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.live.conftest import Account
from tests.live.process import ServerProcess

FILTERS = ("origin", "alias", "model", "provider", "log_id", "api_key_id", "conversation_id", "kind")


class Operation(NamedTuple):
    """One of the document."""

    method: str
    path: str
    described: dict[str, Any]

    @property
    def needs_key(self) -> bool:
        return bool(self.described["security"]) and {} not in self.described["security"]

    @property
    def is_the_operators(self) -> bool:
        return "/admin/" in self.path or (self.method, self.path) == ("POST", "/registry/versions")

    @property
    def needs_session(self) -> bool:
        return self.path.startswith("/api/v1/auth/")


@pytest.fixture(scope="module")
def operations(server: ServerProcess) -> list[Operation]:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    found = [
        Operation(method.upper(), path, described)
        for path, item in paths.items()
        for method, described in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]
    assert len(found) > 40
    return found


class Theirs(NamedTuple):
    """What the other account has."""

    account_id: str
    log_id: str
    receipt_id: str
    key_id: str
    endpoint_id: str
    origin: str

    def fill(self, path: str) -> str:
        for name in ("account_id", "log_id", "receipt_id", "key_id", "endpoint_id"):
            path = path.replace(f"{{{name}}}", getattr(self, name))
        return path

    def values(self) -> dict[str, str]:
        return {"origin": self.origin, "alias": self.origin, "model": self.origin, "log_id": self.log_id}


@pytest.fixture
def theirs(server: ServerProcess, operator: httpx.Client) -> Iterator[Theirs]:
    other = Account(server, operator)
    mark = f"mark-{uuid.uuid4().hex}"
    log_id = other.log(provider="openai", model=mark, origin=mark, alias=mark, input_tokens=1)["log_id"]
    receipt = other.http.post("/api/v1/receipts", json={"log_id": log_id})
    assert receipt.status_code == 201, receipt.text
    key_id = other.http.get("/api/v1/keys").json()["keys"][0]["id"]
    hook = other.http.post("/api/v1/webhooks", json={"url": "https://8.8.8.8/", "events": ["model.added"]})
    assert hook.status_code == 201, hook.text
    yield Theirs(other.account_id, log_id, receipt.json()["receipt_id"], key_id, hook.json()["id"], mark)
    other.http.close()


def strange() -> Theirs:
    """Of nobody."""
    return Theirs(*(str(uuid.uuid4()) for _ in range(5)), f"mark-{uuid.uuid4().hex}")


def told(answer: httpx.Response, asked: Theirs) -> tuple[int, str]:
    """The status and the body, without what was asked for and what is new each time."""
    text = answer.text
    for value in asked:
        text = text.replace(value, "?")
    if answer.status_code >= 400:
        text = text.replace(answer.headers["x-request-id"], "?")
    return answer.status_code, text


def test_every_read_answers_for_anothers_ids_and_filters_as_for_nobodys(
    account: Account, theirs: Theirs, operations: list[Operation]
) -> None:
    asked = 0
    for operation in operations:
        if operation.method != "GET" or not operation.needs_key:
            continue
        nobodys = strange()
        path, other = theirs.fill(operation.path), nobodys.fill(operation.path)
        names = {each["name"] for each in operation.described.get("parameters", ()) if each["in"] == "query"}
        usable = [name for name in FILTERS if name in names and name in theirs.values()]
        for count in range(len(usable) + 1):
            for chosen in itertools.combinations(usable, count):
                filters = [{name: each.values()[name] for name in chosen} for each in (theirs, nobodys)]
                answer = account.http.get(path, params=filters[0])
                assert told(answer, theirs) == told(account.http.get(other, params=filters[1]), nobodys), path
                assert answer.status_code == (200 if path == operation.path else 404) or (
                    (operation.is_the_operators or operation.needs_session) and answer.status_code == 403
                ), f"{path}: {answer.text}"
                asked += 1
    assert asked > 20


def test_what_is_the_operators_is_refused_to_every_other_key(
    account: Account, theirs: Theirs, operations: list[Operation], operator: httpx.Client
) -> None:
    before = operator.get(f"/api/v1/admin/accounts/{account.account_id}").json()
    own = theirs._replace(account_id=account.account_id)
    refused = 0
    for operation in operations:
        if operation.is_the_operators:
            for whose in (own, theirs):
                change = {"tier": "team", "requests_per_minute": None, "suspended": False}
                body = None if operation.method == "GET" else change
                answer = account.http.request(operation.method, whose.fill(operation.path), json=body)
                assert answer.status_code == 403, f"{operation.method} {operation.path}: {answer.text}"
                refused += 1
    assert refused >= 8
    assert operator.get(f"/api/v1/admin/accounts/{account.account_id}").json() == before


def test_every_path_that_says_so_wants_a_key(server: ServerProcess, operations: list[Operation]) -> None:
    for operation in operations:
        path = strange().fill(operation.path).replace("{", "").replace("}", "")
        body = None if operation.method == "GET" else {}
        answer = httpx.request(operation.method, server.url + path, json=body)
        assert (answer.status_code == 401) == operation.needs_key, f"{operation.method} {path}: {answer.text}"


def test_who_registers_chooses_no_rights(server: ServerProcess, operator: httpx.Client) -> None:
    wished = {
        "tier": "team",
        "scopes": ["operator"],
        "requests_per_minute": None,
        "logs_per_month": None,
        "retention_days": None,
        "account_id": str(uuid.uuid4()),
        "is_operator": True,
    }
    answer = httpx.post(
        f"{server.url}/api/v1/register",
        json={"email": f"{uuid.uuid4().hex}@example.com", "password": "correct horse battery", **wished},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["tier"]["name"] == "free"
    assert answer.json()["account_id"] != wished["account_id"]
    key = {"X-API-Key": answer.json()["api_key"]}
    assert httpx.get(f"{server.url}/api/v1/admin/accounts", headers=key).status_code == 403
    shown = operator.get(f"/api/v1/admin/accounts/{answer.json()['account_id']}").json()
    assert shown["tier"] == "free" or shown["tier"]["name"] == "free"


def test_registering_is_limited_by_client_address(data_dir: Path) -> None:
    server = ServerProcess(data_dir)
    server.environment["LLMRING_ANONYMOUS_REQUESTS_PER_MINUTE"] = "5"
    server.start()
    try:
        statuses = [
            httpx.post(
                f"{server.url}/api/v1/register",
                json={"email": f"{number}@example.com", "password": "correct horse battery"},
            ).status_code
            for number in range(8)
        ]
    finally:
        assert server.stop() == 0
    assert statuses == [201] * 5 + [429] * 3
