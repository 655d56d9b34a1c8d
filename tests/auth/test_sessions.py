"""Sessions: what they open, and when they end. Case P17, as far as one service has it."""

import asyncio
from datetime import timedelta

import pytest

from shared.errors import UnavailableError
from tests.auth.conftest import Auth, token_of

HOUR = timedelta(hours=1)


async def test_a_session_ends_when_nobody_uses_it(auth: Auth) -> None:
    await auth.open_account()
    token = await auth.open_session()
    for _ in range(5):
        auth.clock.at += 23 * HOUR
        assert await auth.verify_session(token) is not None
    auth.clock.at += 24 * HOUR
    assert await auth.verify_session(token) is None


async def test_a_session_ends_however_much_it_is_used(auth: Auth) -> None:
    await auth.open_account()
    auth.clock.at += timedelta(seconds=0.79)
    token = await auth.open_session()
    for _ in range(13):
        auth.clock.at += 12 * HOUR
        found = await auth.verify_session(token)
        assert found is not None
    assert found.expires_at == (auth.clock.at + 12 * HOUR).timestamp()
    auth.clock.at += 12 * HOUR
    assert await auth.verify_session(token) is None
    await auth.open_session()
    assert await auth.count("sessions") == 1  # what is over is cleared away


async def test_the_gateway_is_told_when_a_session_ends_if_it_is_not_used(auth: Auth) -> None:
    await auth.open_account()
    token = await auth.open_session()
    found = await auth.verify_session(token)
    assert found is not None
    assert found.expires_at == (auth.clock.at + 24 * HOUR).timestamp()
    assert (found.tier, found.requests_per_minute) == ("free", 60)


async def test_a_session_is_no_key_and_a_key_is_no_session(auth: Auth) -> None:
    key = (await auth.open_account())["api_key"]
    token = await auth.open_session()
    assert await auth.verify(token) is None
    assert await auth.verify_session(key) is None


async def test_logging_out_ends_the_session_and_no_other(auth: Auth) -> None:
    await auth.open_account()
    first, second = await auth.open_session(), await auth.open_session()
    header = await auth.by_session(first)
    found = await auth.verify_session(first)
    assert found is not None
    answer = await auth.http.post("/api/v1/auth/logout", headers=header)
    assert (answer.status_code, answer.content) == (204, b"")
    [cookie] = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-llmring_session=; Max-Age=0; Path=/")
    assert await auth.verify_session(first) is None
    assert await auth.verify_session(second) is not None
    assert (await auth.events())[-1].key_ids == (found.key_id,)
    # What the gateway still believes for a moment finds nothing.
    assert (await auth.http.post("/api/v1/auth/logout", headers=header)).status_code == 204
    assert (await auth.http.get("/api/v1/auth/me", headers=header)).status_code == 401


async def test_the_audit_log_tells_of_sessions_and_keys(auth: Auth) -> None:
    await auth.open_account()
    token = await auth.open_session()
    header = await auth.by_session(token)
    found = await auth.verify_session(token)
    assert found is not None
    client = {"x-forwarded-for": "203.0.113.9"}
    made = await auth.http.post("/api/v1/auth/regenerate-api-key", headers=header | client)
    await auth.http.post("/api/v1/auth/logout", headers=header | client)
    entries = (await auth.http.get("/api/v1/audit", headers=header)).json()["entries"][::-1]
    assert [(entry["action"], entry["actor"]["kind"], entry["client"]) for entry in entries] == [
        ("account.opened", "account", None),
        ("key.created", "account", None),
        ("key.created", "account", "198.51.100.1"),
        ("session.opened", "account", "198.51.100.1"),
        ("key.revoked", "session", "203.0.113.9"),
        ("key.created", "session", "203.0.113.9"),
        ("session.ended", "session", "203.0.113.9"),
    ]
    assert entries[3]["target_id"] == entries[6]["target_id"] == str(found.key_id)
    assert entries[5]["actor"]["session_id"] == str(found.key_id)
    assert entries[5]["target_id"] == made.json()["key_id"]
    assert token not in str(entries)


async def test_a_suspended_accounts_sessions_open_nothing(auth: Auth) -> None:
    account = await auth.open_account()
    token = await auth.open_session()
    await auth.patch(account["account_id"], {"suspended": True})
    assert await auth.verify_session(token) is None
    await auth.patch(account["account_id"], {"suspended": False})
    assert await auth.verify_session(token) is not None


async def test_the_twenty_newest_sessions_live(auth: Auth) -> None:
    await auth.open_account()
    tokens = [await auth.open_session() for _ in range(22)]
    assert len(set(tokens)) == 22
    alive = [await auth.verify_session(token) is not None for token in tokens]
    assert alive == [False] * 2 + [True] * 20


async def test_me_shows_the_account_and_how_it_stands_with_its_keys(auth: Auth) -> None:
    account = await auth.open_account()
    answer = await auth.log_in()
    await auth.verify(answer.json()["api_key"])
    found = await auth.http.get("/api/v1/auth/me", headers=await auth.by_session(token_of(answer)))
    assert found.status_code == 200
    assert found.headers["cache-control"] == "no-store"
    assert found.json() == {
        "account_id": account["account_id"],
        "email": "nora@example.test",
        "email_verified": False,
        "organization": None,
        "tier": account["tier"],
        "has_password": True,
        "created_at": "2027-01-15T08:00:00Z",
        "session_expires_at": "2027-01-22T08:00:00Z",
        "api_key": {
            "active": True,
            "live_keys": 2,
            "prefix": answer.json()["api_key"][:16],
            "created_at": "2027-01-15T08:00:00Z",
            "last_used_at": "2027-01-15T08:00:00Z",
            "retrievable_until": None,
        },
    }


async def test_a_new_key_replaces_the_first_one_and_no_other(auth: Auth) -> None:
    first = (await auth.open_account())["api_key"]
    answer = await auth.log_in()
    header = await auth.by_session(token_of(answer))
    made = []
    for expected in (first, None, None):
        given = await auth.http.post("/api/v1/auth/regenerate-api-key", headers=header)
        assert (given.status_code, given.headers["cache-control"]) == (201, "no-store")
        assert given.json()["revoked_keys"] == 1
        assert await auth.verify(expected or made[-1]) is None
        made.append(given.json()["api_key"])
    found = await auth.verify(made[-1])
    assert found is not None
    assert (str(found.key_id), found.scopes) == (given.json()["key_id"], ("log", "read", "admin"))
    assert await auth.verify(answer.json()["api_key"]) is not None
    both = await asyncio.gather(
        *(auth.http.post("/api/v1/auth/regenerate-api-key", headers=header) for _ in range(5))
    )
    assert sum([await auth.verify(each.json()["api_key"]) is not None for each in both]) == 1


async def test_whoever_is_logged_in_makes_keys_that_do_more_than_a_session(auth: Auth) -> None:
    await auth.open_account()
    header = await auth.by_session(await auth.open_session())
    made = await auth.http.post(
        "/api/v1/keys", json={"name": "ci", "scopes": ["log", "admin"]}, headers=header
    )
    assert made.status_code == 201, made.text
    mightier = await auth.http.post(
        "/api/v1/keys", json={"name": "x", "scopes": ["operator"]}, headers=header
    )
    assert mightier.status_code == 403
    found = await auth.verify(made.json()["api_key"])
    assert found is not None
    assert found.scopes == ("log", "admin")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "me"), ("POST", "regenerate-api-key"), ("POST", "logout")],
)
async def test_what_needs_a_session_takes_no_key(auth: Auth, method: str, path: str) -> None:
    by_key = await auth.http.request(
        method, f"/api/v1/auth/{path}", headers=auth.token("log", "read", "admin", "operator")
    )
    assert by_key.status_code == 403
    assert "session" in by_key.json()["detail"]
    assert (await auth.http.request(method, f"/api/v1/auth/{path}")).status_code == 401


async def test_a_logout_holds_while_the_event_log_is_away(auth: Auth) -> None:
    await auth.open_account()
    token = await auth.open_session()
    header = await auth.by_session(token)
    auth.log.failure = UnavailableError("away")
    assert (await auth.http.post("/api/v1/auth/logout", headers=header)).status_code == 204
    assert await auth.verify_session(token) is None
    assert await auth.count("outbox") == 1  # for the relay
