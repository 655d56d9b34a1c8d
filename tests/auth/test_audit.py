"""The audit log: what was done, by whom, from where; append-only, without secrets."""

import asyncio
import getpass
from datetime import timedelta
from typing import Any

import pytest

from services.auth.operator import create_operator_key, ensure_operator
from shared.errors import LLMRingError
from shared.postgres import Database
from tests.auth.conftest import PASSWORD, T0, Auth

FROM = {"x-forwarded-for": "198.51.100.7"}


async def read(auth: Auth, headers: dict[str, str], **query: Any) -> dict[str, Any]:
    answer = await auth.http.get("/api/v1/audit", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    page: dict[str, Any] = answer.json()
    return page


async def entries(auth: Auth, headers: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    """Every entry, by as many pages as it takes."""
    page = await read(auth, headers, **query)
    found: list[dict[str, Any]] = page["entries"]
    while page["next"] is not None:
        page = await read(auth, headers, **query, cursor=page["next"])
        found += page["entries"]
    return found


async def test_what_happened_to_an_account_is_told_with_before_and_after(auth: Auth) -> None:
    account_id = (await auth.http.post("/api/v1/register", headers=FROM, json={
        "email": "nora@example.test", "password": PASSWORD, "organization": "Acme",
    })).json()["account_id"]  # fmt: skip
    auth.clock.at += timedelta(minutes=1)
    operator = await auth.operator()
    answer = await auth.http.patch(
        f"/api/v1/admin/accounts/{account_id}",
        json={"tier": "pro", "retention_days": None},
        headers=operator | {"x-forwarded-for": "203.0.113.9"},
    )
    assert answer.status_code == 200
    own = await entries(auth, auth.token_of(account_id, "admin"))
    assert [(e["action"], e["at"], e["actor"]["kind"], e["client"]) for e in own] == [
        ("account.changed", "2027-01-15T08:01:00Z", "operator", None),
        ("key.created", "2027-01-15T08:00:00Z", "account", "198.51.100.7"),
        ("account.opened", "2027-01-15T08:00:00Z", "account", "198.51.100.7"),
    ]
    changed, created, opened = own
    assert (changed["account_id"], changed["target_id"]) == (account_id, None)
    assert changed["before"] == {
        "tier": "free", "requests_per_minute": 60, "logs_per_month": 10_000, "retention_days": 30,
        "own_limits": [],
    }  # fmt: skip
    assert changed["after"] == {
        "tier": "pro", "requests_per_minute": 1000, "logs_per_month": 500_000, "retention_days": None,
        "own_limits": ["retention_days"],
    }  # fmt: skip
    assert set(created["after"]) == {"name", "prefix", "scopes", "expires_at"}
    assert created["target_id"] is not None
    assert opened["after"] == {
        "email": "nora@example.test", "organization": "Acme", "role": "customer", "tier": "free",
    }  # fmt: skip
    # Which operator's key it was, and from where, is for operators alone.
    assert changed["actor"] == {"kind": "operator", "account_id": None, "key_id": None, "session_id": None}
    told = (await entries(auth, operator, account_id=account_id))[0]
    assert told["actor"]["key_id"] is not None
    assert told["client"] == "203.0.113.9"


async def test_a_start_and_a_command_line_say_who_ran_them(auth: Auth) -> None:
    await ensure_operator(auth.database, auth.clock)
    auth.clock.at += timedelta(seconds=1)
    await create_operator_key(auth.database, auth.clock, "laptop")
    found = await entries(auth, auth.token("operator"))
    assert [(e["action"], e["actor"]["kind"]) for e in found] == [
        ("key.created", "command_line"),
        ("key.created", "first_start"),
        ("account.opened", "first_start"),
    ]
    assert all(e["client"].startswith(f"{getpass.getuser()}@") for e in found)


async def test_each_reads_of_the_own_account_and_operators_of_all(auth: Auth) -> None:
    nora, pia = [(await auth.open_account(f"{name}@example.test"))["account_id"] for name in ("nora", "pia")]
    assert {e["account_id"] for e in await entries(auth, auth.token_of(pia, "admin"))} == {pia}
    assert await entries(auth, auth.token_of(pia, "admin"), account_id=pia)
    assert {e["account_id"] for e in await entries(auth, auth.token("operator"))} == {nora, pia}
    assert {e["account_id"] for e in await entries(auth, auth.token("operator"), account_id=nora)} == {nora}
    for headers, status in (
        ({}, 401),
        (auth.token_of(pia, "log", "read"), 403),
        (auth.token("gateway"), 403),
        (auth.token_of(pia, "admin"), 403),
    ):
        answer = await auth.http.get("/api/v1/audit", params={"account_id": nora}, headers=headers)
        assert answer.status_code == status


async def test_pages_and_filters_miss_nothing_and_repeat_nothing(auth: Auth) -> None:
    made = []
    for number in range(4):
        made.append((await auth.open_account(f"u{number}@example.test"))["account_id"])
        auth.clock.at = T0 + timedelta(hours=number // 2)
    operator = auth.token("operator")
    whole = await entries(auth, operator)
    assert len(whole) == 8
    assert whole == sorted(whole, key=lambda e: (e["at"], e["id"]), reverse=True)
    for limit in (1, 3, 8):
        assert await entries(auth, operator, limit=limit) == whole
    opened = await entries(auth, operator, action="account.opened", limit=1)
    assert [e["account_id"] for e in opened] == made[::-1]
    late = await entries(auth, operator, since="2027-01-15T09:00:00Z")
    early = await entries(auth, operator, until="2027-01-15T10:00:00+01:00")
    assert late + early == whole
    assert late
    assert await entries(auth, operator, action="no.such\0", since="", until="") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cursor", "x"),
        ("cursor", "MS4y"),
        ("cursor", "\u00e9"),
        ("limit", 0),
        ("limit", 501),
        ("since", "2027-02-30T00:00:00Z"),
        ("until", "yesterday"),
        ("account_id", "x"),
        ("action", "a" * 65),
    ],
)
async def test_a_wrong_parameter_is_named(auth: Auth, name: str, value: Any) -> None:
    answer = await auth.http.get("/api/v1/audit", params={name: value}, headers=auth.token("operator"))
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [name]


async def test_nobody_changes_or_removes_an_entry(auth: Auth) -> None:
    await auth.open_account()
    before = await entries(auth, auth.token("operator"))
    for statement in (
        "UPDATE auth.audit SET client = 'x'",
        "DELETE FROM auth.audit",
        "TRUNCATE auth.audit",
    ):
        with pytest.raises(Exception, match="append-only"):
            async with auth.database.transaction() as connection:
                await connection.execute(statement)
    assert await entries(auth, auth.token("operator")) == before


async def test_a_change_and_its_entry_are_one(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    account_id = (await auth.open_account())["account_id"]
    await auth.operator()
    before = (await auth.get_admin(f"/{account_id}")).json(), await entries(auth, auth.token("operator"))

    async def fail(*args: object, **kwargs: object) -> None:
        raise LLMRingError("broken")

    monkeypatch.setattr("services.auth.audit.insert_entry", fail)
    answers = await asyncio.gather(
        auth.patch(account_id, {"tier": "pro"}), auth.register("pia@example.test"), return_exceptions=True
    )
    assert all(getattr(answer, "status_code", 0) == 500 for answer in answers)
    monkeypatch.undo()
    after = (await auth.get_admin(f"/{account_id}")).json(), await entries(auth, auth.token("operator"))
    assert after == before
    assert await auth.count("accounts") == 2


async def test_no_secret_is_ever_in_it(auth: Auth) -> None:
    opened = await auth.open_account()
    # Somebody puts a key where it does not belong.
    await auth.register("pia@example.test", organization=f"Acme {opened['api_key']}")
    key = await create_operator_key(auth.database, auth.clock, opened["api_key"])
    text = await everything(auth.database)
    assert "Acme llmr_pk_" in text
    assert PASSWORD not in text
    assert "argon2" not in text
    for secret in (opened["api_key"], key):
        assert secret[:16] in text
        assert secret[:20] not in text


async def everything(database: Database) -> str:
    async with database.connection() as connection:
        return str(await connection.fetchval("SELECT string_agg(a::text, '') FROM auth.audit a"))
