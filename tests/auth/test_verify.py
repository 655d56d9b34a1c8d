"""What the gateway is told of a key."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from services.auth.tiers import TIERS
from tests.auth.conftest import T0, Auth


async def alter_key(auth: Auth, assignment: str, *args: object) -> None:
    async with auth.database.connection() as connection:
        await connection.execute(f"UPDATE auth.api_keys SET {assignment}", *args)


@pytest.mark.parametrize(
    ("scopes", "status"),
    [((), 403), (("operator",), 403), (("log", "read", "admin", "operator"), 403), (("gateway",), 200)],
)
async def test_only_the_gateway_may_ask(auth: Auth, scopes: tuple[str, ...], status: int) -> None:
    key = (await auth.open_account())["api_key"]
    body = {"key_sha256": sha256(key.encode()).hexdigest()}
    answer = await auth.http.post("/internal/keys/verify", json=body, headers=auth.token(*scopes))
    assert answer.status_code == status


@pytest.mark.parametrize("token", [None, "", "x", "x.y"])
async def test_nobody_asks_without_a_token(auth: Auth, token: str | None) -> None:
    headers = {} if token is None else {"x-llmring-principal": token}
    answer = await auth.http.post("/internal/keys/verify", json={"key_sha256": "0" * 64}, headers=headers)
    assert answer.status_code == 401
    assert "www-authenticate" in answer.headers


@pytest.mark.parametrize(
    "text",
    ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 62 + " 0", "0" * 64 + "\n", "\u0660" * 64, None, 7],
)
async def test_what_is_no_hash_is_refused(auth: Auth, text: Any) -> None:
    answer = await auth.http.post(
        "/internal/keys/verify", json={"key_sha256": text}, headers=auth.token("gateway")
    )
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == ["key_sha256"]


async def test_an_unknown_key_is_not_found(auth: Auth) -> None:
    await auth.open_account()
    assert await auth.verify("llmr_pk_" + "0" * 48) is None


@pytest.mark.parametrize("lives", [timedelta(hours=1), timedelta(seconds=1.79), timedelta(microseconds=1)])
async def test_a_key_lives_until_it_expires_to_the_microsecond(auth: Auth, lives: timedelta) -> None:
    key = (await auth.open_account())["api_key"]
    await alter_key(auth, "expires_at = $1", T0 + lives)
    found = await auth.verify(key)
    assert found is not None
    assert found.expires_at == (T0 + lives).timestamp()
    auth.clock.at = T0 + lives - timedelta(microseconds=1)
    assert await auth.verify(key) is not None
    auth.clock.at = T0 + lives
    assert await auth.verify(key) is None


async def test_a_revoked_key_is_gone(auth: Auth) -> None:
    key = (await auth.open_account())["api_key"]
    await alter_key(auth, "revoked_at = $1", T0)
    assert await auth.verify(key) is None


async def test_a_suspended_accounts_keys_rest_until_it_is_let_in_again(auth: Auth) -> None:
    body = await auth.open_account()
    other = await auth.open_account("pia@example.test")
    await auth.patch(body["account_id"], {"suspended": True})
    assert await auth.verify(body["api_key"]) is None
    assert await auth.verify(other["api_key"]) is not None
    await auth.patch(body["account_id"], {"suspended": False})
    assert await auth.verify(body["api_key"]) is not None


@pytest.mark.parametrize("tier", TIERS)
async def test_a_key_has_its_tiers_limits(auth: Auth, tier: str) -> None:
    body = await auth.open_account()
    await auth.patch(body["account_id"], {"tier": tier})
    found = await auth.verify(body["api_key"])
    assert found is not None
    expected = {"free": (60, 10_000), "hobby": (300, 50_000), "pro": (1000, 500_000), "team": (5000, None)}
    assert (found.requests_per_minute, found.logs_per_month) == expected[tier]
    assert found.tier == tier


@pytest.mark.parametrize("limit", [None, 0, 7, 1_000_000])
async def test_an_accounts_own_limit_comes_before_its_tiers(auth: Auth, limit: int | None) -> None:
    body = await auth.open_account()
    await auth.patch(body["account_id"], {"requests_per_minute": limit})
    found = await auth.verify(body["api_key"])
    assert found is not None
    assert (found.requests_per_minute, found.logs_per_month) == (limit, 10_000)


async def test_the_last_use_is_stored_to_the_minute(auth: Auth) -> None:
    key = (await auth.open_account())["api_key"]

    async def last_use(after: timedelta) -> Any:
        auth.clock.at = T0 + after
        assert await auth.verify(key) is not None
        async with auth.database.connection() as connection:
            return await connection.fetchval("SELECT last_used_at FROM auth.api_keys")

    assert await last_use(timedelta()) == T0
    assert await last_use(timedelta(seconds=59)) == T0
    assert await last_use(timedelta(seconds=60)) == T0 + timedelta(seconds=60)
