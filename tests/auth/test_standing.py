"""What a key or session may no longer do is not done, although the gateway let the request in before."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.auth.oauth.join import join_account
from services.auth.oauth.provider import Identity
from shared.contracts.sessions import OPENER_HEADER, opener_of
from tests.auth.conftest import PASSWORD, Auth
from tests.auth.test_keys import ALL, HOUR_LATER, Owner, open_owner

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query NOT LIKE '%pg_stat_activity%'
"""


@pytest.fixture
async def nora(auth: Auth) -> Owner:
    return await open_owner(auth)


async def wait_for_waiting(auth: Auth, how_many: int) -> None:
    async with auth.database.connection() as connection, asyncio.timeout(20):
        while await connection.fetchval(WAITING) != how_many:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def held(auth: Auth, account_id: str) -> AsyncIterator[None]:
    """An account that somebody else is changing meanwhile."""
    async with auth.database.transaction() as connection:
        await connection.execute("SELECT 1 FROM auth.accounts WHERE account_id = $1 FOR UPDATE", account_id)
        yield


async def stored(auth: Auth) -> list[Any]:
    """All that could have been changed: every key, and every account's limits."""
    async with auth.database.connection() as connection:
        keys = await connection.fetch(
            "SELECT key_id, name, scopes, expires_at, revoked_at FROM auth.api_keys ORDER BY key_id"
        )
        accounts = await connection.fetch("SELECT account_id, tier FROM auth.accounts ORDER BY account_id")
    return [tuple(row.values()) for row in (*keys, *accounts)]


async def end_then_act(
    auth: Auth,
    account_id: str,
    end: Callable[[], Awaitable[Any]],
    act: Callable[[], Awaitable[httpx.Response]],
) -> tuple[list[Any], httpx.Response]:
    """Let both wait for the account, in this order; tells what is stored between them, and the answer."""
    async with held(auth, account_id):
        ending = asyncio.ensure_future(end())
        await wait_for_waiting(auth, 1)
        acting = asyncio.ensure_future(act())
        await wait_for_waiting(auth, 2)
    ended = await ending
    assert not isinstance(ended, httpx.Response) or ended.status_code < 300, ended.text
    answer = await acting
    return await stored(auth), answer


def acts_of(who: Owner, other: str) -> dict[str, Callable[[], Awaitable[httpx.Response]]]:
    return {
        "make": lambda: who.ask("POST", body={"scopes": ["read"]}),
        "change": lambda: who.ask("PATCH", f"/{other}", {"name": "mine", "expires_at": None}),
        "rotate": lambda: who.ask("POST", f"/{other}/rotate", {}),
        "revoke": lambda: who.ask("DELETE", f"/{other}"),
        "rotate itself": lambda: who.ask("POST", f"/{who.key_id}/rotate", {}),
        "promote itself": lambda: who.ask("PATCH", f"/{who.key_id}", {"scopes": ALL}),
    }


@pytest.mark.parametrize(
    "ended_by", ["revoked", "rotated away", "demoted", "reclaimed", "expired", "suspended"]
)
async def test_a_key_that_has_ended_meanwhile_does_nothing_more(
    auth: Auth, nora: Owner, ended_by: str
) -> None:
    """The end waits for the account's lock before the deed does, and so is done first."""
    other = (await nora.make(name="other"))["key"]["id"]
    made = await nora.make(scopes=ALL, expires_at=HOUR_LATER)
    thief = Owner(auth, nora.account_id, made["api_key"], made["key"]["id"])
    own = f"/{thief.key_id}"

    async def reclaim() -> None:
        async with auth.database.transaction() as connection:
            who = Identity("google", "g-1", "nora@example.test")
            await join_account(connection, who, None, auth.clock)

    async def expire() -> None:
        auth.clock.at += timedelta(hours=1)
        assert (await nora.ask("PATCH", f"/{other}", {"name": "waits as well"})).status_code == 200

    ends: dict[str, Callable[[], Awaitable[Any]]] = {
        "revoked": lambda: nora.ask("DELETE", own),
        "rotated away": lambda: nora.ask("POST", f"{own}/rotate", {"grace_seconds": 0}),
        "demoted": lambda: nora.ask("PATCH", own, {"scopes": ["log", "read"]}),
        "reclaimed": reclaim,
        "expired": expire,
        "suspended": lambda: auth.patch(nora.account_id, {"suspended": True}),
    }
    await auth.operator()  # is there before anything waits
    first = True
    for deed, act in acts_of(thief, other).items():
        if first:  # it ends while the deed is under way
            between, answer = await end_then_act(auth, nora.account_id, ends[ended_by], act)
            first = False
        else:  # it has ended before, and the gateway has not heard of it
            answer = await act()
        assert answer.status_code == (403 if ended_by == "demoted" else 401), (deed, answer.text)
        assert await stored(auth) == between, deed


@pytest.mark.parametrize("deed", ["make", "change", "rotate", "revoke", "promote itself"])
async def test_each_deed_of_a_key_that_is_revoked_under_way_is_refused(
    auth: Auth, nora: Owner, deed: str
) -> None:
    other = (await nora.make(name="other"))["key"]["id"]
    made = await nora.make(scopes=ALL)
    thief = Owner(auth, nora.account_id, made["api_key"], made["key"]["id"])
    act = acts_of(thief, other)[deed]
    between, answer = await end_then_act(
        auth, nora.account_id, lambda: nora.ask("DELETE", f"/{thief.key_id}"), act
    )
    assert answer.status_code == 401, answer.text
    live = [key for key in between if len(key) == 5 and key[4] is None]
    assert {str(key[0]) for key in live} == {nora.key_id, other}


@pytest.mark.parametrize("ended_by", ["logout", "reset", "expired"])
async def test_a_session_that_has_ended_meanwhile_does_nothing_more(
    auth: Auth, nora: Owner, ended_by: str
) -> None:
    token = await auth.open_session()
    found = await auth.verify_session(token)
    assert found is not None
    session = found
    link = await auth.get_reset_token()
    async with auth.database.connection() as connection:
        ends_at = await connection.fetchval("SELECT expires_at FROM auth.sessions")

    def ask(path: str, content: bytes = b"") -> Awaitable[httpx.Response]:
        headers = auth.token_of(nora.account_id, *session.scopes, key_id=session.key_id)
        headers[OPENER_HEADER.decode()] = opener_of(token.encode()).hex()
        return auth.http.post(f"/api/v1/{path}", content=content, headers=headers)

    before = await stored(auth)
    if ended_by == "reset":
        before, answer = await end_then_act(
            auth,
            nora.account_id,
            lambda: auth.confirm_reset(link, "new horse battery"),
            lambda: ask("keys", b'{"scopes":["admin"]}'),
        )
    else:
        async with held(auth, nora.account_id):
            acting = asyncio.ensure_future(ask("keys", b'{"scopes":["admin"]}'))
            await wait_for_waiting(auth, 1)
            if ended_by == "logout":
                assert (await ask("auth/logout")).status_code == 204
            else:
                auth.clock.at = ends_at
        answer = await acting
    assert answer.status_code == 401, answer.text
    for path in ("auth/regenerate-api-key", "auth/retrieve-api-key", f"keys/{nora.key_id}/rotate"):
        assert (await ask(path)).status_code == 401, path
    assert await stored(auth) == before


async def test_an_operators_key_that_was_revoked_changes_no_account(auth: Auth, nora: Owner) -> None:
    header = await auth.operator()
    account, key = f"/api/v1/admin/accounts/{nora.account_id}", f"/keys/{nora.key_id}"
    async with held(auth, nora.account_id):
        acting = [
            asyncio.ensure_future(auth.http.patch(account, json={"tier": "team"}, headers=header)),
            asyncio.ensure_future(auth.http.delete(account + key, headers=header)),
        ]
        await wait_for_waiting(auth, 2)
        async with auth.database.connection() as connection:
            await connection.execute(
                "UPDATE auth.api_keys SET revoked_at = now() WHERE 'operator' = ANY(scopes)"
            )
        before = await stored(auth)
    assert [(await each).status_code for each in acting] == [401, 401]
    assert await stored(auth) == before
    assert (await auth.log_in(password=PASSWORD)).status_code == 200  # and nobody was held up


async def test_whoever_asks_is_held_until_the_change_is_done(auth: Auth, nora: Owner) -> None:
    """The other order: what was asked for in time is done, and the end comes after it, and ends it not."""
    made = await nora.make(scopes=ALL)
    other = Owner(auth, nora.account_id, made["api_key"], made["key"]["id"])
    async with held(auth, nora.account_id):
        acting = asyncio.ensure_future(other.ask("POST", body={"name": "in time", "scopes": ["read"]}))
        await wait_for_waiting(auth, 1)
        ending = asyncio.ensure_future(nora.ask("DELETE", f"/{other.key_id}"))
        await wait_for_waiting(auth, 2)
    assert ((await acting).status_code, (await ending).status_code) == (201, 204)
    assert "in time" in await nora.names()
