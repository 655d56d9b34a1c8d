"""What operators see and change of accounts."""

import asyncio
from typing import Any

import pytest

from services.auth.operator import ensure_operator
from tests.auth.conftest import Auth

UNKNOWN = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
VIEW: dict[str, Any] = {
    "email": "nora@example.test",
    "organization": None,
    "role": "customer",
    "tier": "free",
    "requests_per_minute": 60,
    "logs_per_month": 10_000,
    "retention_days": 30,
    "own_limits": [],
    "suspended": False,
    "suspended_at": None,
    "created_at": "2027-01-15T08:00:00Z",
}


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_only_operators_see_accounts(auth: Auth, method: str) -> None:
    account_id = (await auth.open_account())["account_id"]
    paths = ["/api/v1/admin/accounts/" + account_id] + (["/api/v1/admin/accounts"] if method == "GET" else [])
    body = b'{"tier":"team"}' if method == "PATCH" else b""
    for path in paths:
        for headers, status in (
            ({}, 401),
            ({"x-llmring-principal": "forged"}, 401),
            (auth.token(), 403),
            (auth.token("log", "read", "admin"), 403),
            (auth.token("gateway"), 403),
            (await auth.operator(), 200),
        ):
            answer = await auth.http.request(method, path, content=body, headers=headers)
            assert answer.status_code == status, (path, headers)


async def test_an_account_is_shown_with_the_limits_in_force(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    assert (await auth.get_admin(f"/{account_id}")).json() == {"account_id": account_id, **VIEW}
    changed = await auth.patch(account_id, {"tier": "pro", "logs_per_month": None, "suspended": True})
    assert changed.status_code == 200
    assert changed.json() == {
        "account_id": account_id,
        **VIEW,
        "tier": "pro",
        "requests_per_minute": 1000,
        "logs_per_month": None,
        "retention_days": 365,
        "own_limits": ["logs_per_month"],
        "suspended": True,
        "suspended_at": "2027-01-15T08:00:00Z",
    }
    assert (await auth.get_admin(f"/{account_id}")).json() == changed.json()
    await auth.patch(account_id, {"suspended": False})
    assert [event.suspended for event in await auth.events()] == [None, True, False]


async def test_an_account_is_found_by_its_address(auth: Auth) -> None:
    await auth.open_account("nora@example.test")
    await auth.open_account("eleanora@example.test")
    for email in ("nora@example.test", "NORA@example.test"):
        page = (await auth.get_admin(email=email)).json()
        assert [a["email"] for a in page["accounts"]] == ["nora@example.test"]
        assert page["next"] is None


@pytest.mark.parametrize(
    "email", ["zoe@example.test", "%", "x", "a\0b", "\u212aelvin@example.test", "'" * 5000]
)
async def test_an_unknown_address_finds_nobody(auth: Auth, email: str) -> None:
    await auth.open_account("kelvin@example.test")
    assert (await auth.get_admin(email=email)).json() == {"accounts": [], "next": None}


async def test_pages_are_newest_first_and_miss_nobody(auth: Auth) -> None:
    made = [(await auth.open_account(f"u{i}@example.test"))["account_id"] for i in range(7)]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await auth.get_admin(**query)).json()
        seen += [a["account_id"] for a in page["accounts"]]
        if page["next"] is None:
            break
        await auth.open_account(f"late{len(seen)}@example.test")
        query["cursor"] = page["next"]
    assert seen == made[::-1]
    assert len((await auth.get_admin(email="", cursor="", limit="")).json()["accounts"]) == 9
    assert (await auth.get_admin(limit=9)).json()["next"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", 0),
        ("limit", 501),
        ("limit", -1),
        ("limit", "x"),
        ("limit", 10**30),
        ("limit", "1.5"),
        ("cursor", "x"),
    ],
)
async def test_a_bad_page_is_named(auth: Auth, name: str, value: Any) -> None:
    answer = await auth.get_admin(**{name: value})
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [name]


@pytest.mark.parametrize("account_id", ["x", "1", "%00", UNKNOWN, UNKNOWN.upper()])
async def test_an_unknown_account_is_not_found(auth: Auth, account_id: str) -> None:
    assert (await auth.get_admin(f"/{account_id}")).status_code == 404
    assert (await auth.patch(account_id, {"tier": "pro"})).status_code == 404


BAD_LIMITS: list[Any] = [-1, 10**13, 10**30, 1.5, "7", True, [], {}]
BAD_VALUES: dict[str, list[Any]] = {
    "tier": ["gold", "FREE", "", None, 7, [], {}],
    "requests_per_minute": BAD_LIMITS,
    "logs_per_month": BAD_LIMITS,
    "retention_days": BAD_LIMITS,
    "suspended": [None, 1, "true", []],
}
BAD_CHANGES: list[tuple[Any, str]] = [
    *(({name: value}, name) for name, values in BAD_VALUES.items() for value in values),
    ([], "body"),
    (None, "body"),
    ("tier", "body"),
]


async def test_a_bad_change_is_named_and_changes_nothing(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    for body, named in BAD_CHANGES:
        answer = await auth.patch(account_id, body)
        assert answer.status_code == 422, body
        assert [e["field"] for e in answer.json()["errors"]] == [named], body
    assert (await auth.get_admin(f"/{account_id}")).json() == {"account_id": account_id, **VIEW}


@pytest.mark.parametrize(
    "body", [{}, {"tier": "free"}, {"email": "x", "role": "operator", "colour": 1}, {"suspended": False}]
)
async def test_a_change_of_nothing_is_no_event(auth: Auth, body: dict[str, Any]) -> None:
    account_id = (await auth.open_account())["account_id"]
    before = await auth.events()
    answer = await auth.patch(account_id, body)
    assert answer.status_code == 200
    assert answer.json() == {"account_id": account_id, **VIEW}
    assert await auth.events() == before


async def test_a_tier_replaces_own_limits_and_may_come_with_new_ones(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    await auth.patch(account_id, {"requests_per_minute": 7, "retention_days": None})
    assert (await auth.patch(account_id, {"logs_per_month": 0})).json()["own_limits"] == [
        "requests_per_minute",
        "logs_per_month",
        "retention_days",
    ]
    moved = (await auth.patch(account_id, {"tier": "hobby", "retention_days": 1})).json()
    assert (moved["requests_per_minute"], moved["logs_per_month"]) == (300, 50_000)
    assert (moved["retention_days"], moved["own_limits"]) == (1, ["retention_days"])


async def test_simultaneous_changes_do_not_undo_one_another(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    bodies = [{"requests_per_minute": 1}, {"logs_per_month": 2}, {"retention_days": 3}, {"suspended": True}]
    answers = await asyncio.gather(*(auth.patch(account_id, body) for body in bodies * 4))
    assert {a.status_code for a in answers} == {200}
    view = (await auth.get_admin(f"/{account_id}")).json()
    assert (view["requests_per_minute"], view["logs_per_month"], view["retention_days"]) == (1, 2, 3)
    assert view["suspended"]


@pytest.mark.parametrize("body", [{"suspended": True}, {"requests_per_minute": 0}, {"tier": "free"}])
async def test_an_operator_cannot_be_locked_out(auth: Auth, body: dict[str, Any]) -> None:
    key = await ensure_operator(auth.database, auth.clock)
    assert key is not None
    (account,) = (await auth.get_admin(email="operator@localhost")).json()["accounts"]
    assert (account["role"], account["requests_per_minute"], account["retention_days"]) == (
        "operator",
        None,
        None,
    )
    assert (await auth.patch(account["account_id"], body)).status_code == 409
    found = await auth.verify(key)
    assert found is not None
    assert (found.requests_per_minute, found.logs_per_month) == (None, None)
