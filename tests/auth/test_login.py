"""Logging in: cases P14 and P22, keys that make room, and races with what takes a password away."""

import asyncio
import itertools
import statistics
import time
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from services.auth.passwords import PasswordHashes
from services.auth.settings import AuthSettings
from shared.limits.choose import build_limiter
from shared.limits.port import RateLimiter
from shared.redis import open_redis
from tests.auth.conftest import PASSWORD, SETTINGS, Auth, open_auth, token_of

WRONG = "The email address or the password is wrong."


def seen(answer: httpx.Response) -> tuple[int, bytes, list[str]]:
    """All that a stranger sees of an answer but for its figures of time."""
    return answer.status_code, answer.content, sorted(answer.headers)


async def open_without_password(auth: Auth, email: str) -> None:
    answer = await auth.http.post("/api/v1/cli/register", json={"email": email, "accept_terms": True})
    assert answer.status_code == 201


async def test_a_login_gives_the_account_a_fresh_key_and_a_session(auth: Auth) -> None:
    registered = (await auth.register("Nora@example.test", organization="Nora's")).json()
    answer = await auth.log_in("nora@EXAMPLE.test")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert list(body) == list(registered)
    assert {**body, "api_key": ""} == {**registered, "api_key": ""}
    assert body["api_key"] != registered["api_key"]
    for key in (body["api_key"], registered["api_key"]):
        found = await auth.verify(key)
        assert found is not None
        assert (str(found.account_id), found.scopes) == (body["account_id"], ("log", "read", "admin"))
    [cookie] = answer.headers.get_list("set-cookie")
    _, *flags = cookie.split("; ")
    assert sorted(flags) == ["HttpOnly", "Max-Age=604800", "Path=/", "SameSite=Lax", "Secure"]
    session = await auth.verify_session(token_of(answer))
    assert session is not None
    assert (str(session.account_id), session.scopes) == (body["account_id"], ("read", "admin", "session"))


async def test_without_https_the_cookie_has_another_name(postgres_url: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, public_url="http://127.0.0.1:8080")
    async with open_auth(postgres_url, settings=settings) as auth:
        await auth.open_account()
        [cookie] = (await auth.log_in()).headers.get_list("set-cookie")
    assert cookie.startswith("llmring_session=")
    assert "Secure" not in cookie


async def test_whatever_is_wrong_is_answered_by_the_same_bytes(auth: Auth) -> None:
    await auth.open_account("nora@example.test")
    suspended = await auth.open_account("uma@example.test")
    await auth.patch(suspended["account_id"], {"suspended": True})
    await open_without_password(auth, "olaf@example.test")
    attempts = [
        ("nora@example.test", "wrong horse battery"),
        ("nora@example.test", ""),
        ("nora@example.test", PASSWORD + "\0"),
        ("nora@example.test", PASSWORD * 50),
        ("zoe@example.test", PASSWORD),
        ("olaf@example.test", PASSWORD),
        ("olaf@example.test", ""),
        ("uma@example.test", PASSWORD),
        ("operator@localhost", PASSWORD),
        ("no address\0", PASSWORD),
        ("x" * 20_000, PASSWORD),
        ("", PASSWORD),
    ]
    answers = [await auth.log_in(*attempt) for attempt in attempts]
    assert len({str(seen(answer)) for answer in answers}) == 1
    assert (answers[0].status_code, answers[0].json()["detail"]) == (401, WRONG)
    assert "set-cookie" not in answers[0].headers
    assert await auth.count("sessions") == 0


async def test_a_known_and_an_unknown_address_take_the_same_time(postgres_url: str) -> None:
    # A hash that costs some milliseconds: without one in its place the difference would be that.
    settings = msgspec.structs.replace(
        SETTINGS,
        password_hash_memory_kib=8_192,
        password_hash_passes=2,
        attempts_per_client=100_000,
        logins_per_email=100_000,
    )
    async with open_auth(postgres_url, settings=settings) as auth:
        await auth.open_account("nora@example.test")
        await open_without_password(auth, "olaf@example.test")
        addresses = ("nora@example.test", "olaf@example.test", "zoe@example.test")
        times: dict[str, list[float]] = {address: [] for address in addresses}
        for _ in range(67):
            for address in addresses:
                began_at = time.perf_counter()
                assert (await auth.log_in(address, "wrong horse battery")).status_code == 401
                times[address].append(time.perf_counter() - began_at)
        medians = [statistics.median(each) for each in times.values()]
    assert max(medians) - min(medians) < max(0.005, 0.05 * max(medians))


async def test_attempts_are_limited_alike_whether_the_address_has_an_account(auth: Auth) -> None:
    await auth.open_account("nora@example.test")
    for email in ("nora@example.test", "NORA@example.test", "zoe@example.test"):
        auth.clock.at += timedelta(minutes=1)
        answers = [await auth.log_in(email, "wrong horse battery") for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        refused = answers[-1]
        assert refused.headers["retry-after"] == "60"
        assert refused.json()["detail"] == "Too many attempts: try again in 60 s."
    # Also the right password has to wait then, and a right one counts for nothing.
    assert (await auth.log_in(client="198.51.100.2")).status_code == 200
    for _ in range(10):
        await auth.log_in("nora@example.test", "wrong horse battery", client="198.51.100.3")
    assert (await auth.log_in(client="198.51.100.2")).status_code == 429


async def test_attempts_are_limited_by_the_clients_address_over_all_addresses(auth: Auth) -> None:
    await auth.open_account()
    spread = [await auth.log_in(f"u{n}@example.test", client=f"2001:db8:7:1::{n + 1:x}") for n in range(31)]
    assert [answer.status_code for answer in spread] == [401] * 30 + [429]
    assert (await auth.log_in(client="2001:db8:7:1:ffff::1")).status_code == 429
    assert (await auth.log_in(client="2001:db8:7:2::1")).status_code == 200
    auth.clock.at += timedelta(seconds=60)
    assert (await auth.log_in(client="2001:db8:7:1::1")).status_code == 200


async def test_attempts_are_limited_while_redis_is_away(postgres_url: str) -> None:
    redis = await open_redis("redis://127.0.0.1:1/0")
    counters = itertools.count()

    def away() -> RateLimiter:
        return build_limiter(redis, f"test-{next(counters)}", 100)

    async with open_auth(postgres_url, build_limiter=away) as auth:
        answers = [await auth.log_in(password="wrong horse battery") for _ in range(12)]
    await redis.close()
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2


async def test_right_logins_do_not_use_up_an_addresss_attempts(auth: Auth) -> None:
    await auth.open_account()
    answers = [await auth.log_in() for _ in range(25)]
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("at_registration", "at_login", "status"),
    [
        ("a" * 72 + "X", "a" * 72 + "Y", 401),
        ("a" * 72 + "X", "a" * 72 + "X", 200),
        ("\U0001f600" * 25 + "!", "\U0001f600" * 25 + "!", 200),
        ("cafe\u0301-terrace", "café-terrace", 200),
        ("café-terrace", "cafe\u0301-terrace", 200),
        (PASSWORD, "a" * 150, 401),
        (PASSWORD, "a" * 50_000, 401),
        (PASSWORD, "a" * 1_000_000, 413),
    ],
    ids=lambda value: ascii(value)[:20],
)
async def test_no_byte_of_a_password_is_cut_off(
    auth: Auth, at_registration: str, at_login: str, status: int
) -> None:
    assert (await auth.register("nora@example.test", password=at_registration)).status_code == 201
    assert (await auth.log_in(password=at_login)).status_code == status


async def test_the_five_newest_login_keys_live_and_other_keys_stay(auth: Auth) -> None:
    first = (await auth.open_account())["api_key"]
    keys = [(await auth.log_in()).json()["api_key"] for _ in range(4)]
    keys += [a.json()["api_key"] for a in await asyncio.gather(*(auth.log_in() for _ in range(4)))]
    live = [key for key in keys if await auth.verify(key) is not None]
    assert len(live) == 5
    assert not set(keys[:3]) & set(live)
    assert await auth.verify(first) is not None
    newest = (await auth.log_in()).json()["api_key"]
    assert await auth.verify(newest) is not None
    assert len([key for key in keys if await auth.verify(key) is not None]) == 4
    # The gateways are told of each key that was revoked.
    told = {key_id for event in await auth.events() for key_id in event.key_ids}
    async with auth.database.connection() as connection:
        rows = await connection.fetch("SELECT key_id FROM auth.api_keys WHERE revoked_at IS NOT NULL")
        names = await connection.fetchval(
            "SELECT array_agg(DISTINCT name) FROM auth.api_keys WHERE origin = 'login'"
        )
    assert len(rows) == 4
    assert {row["key_id"] for row in rows} <= told
    assert names == ["login"]


async def test_an_outdated_hash_is_made_anew(postgres_url: str) -> None:
    async with open_auth(postgres_url) as auth:
        await auth.open_account()
    newer = msgspec.structs.replace(SETTINGS, password_hash_passes=2)
    async with open_auth(postgres_url, settings=newer) as auth:
        for _ in range(2):
            assert (await auth.log_in()).status_code == 200
            async with auth.database.connection() as connection:
                stored = await connection.fetchval("SELECT password_hash FROM auth.accounts")
            assert stored.startswith("$argon2id$v=19$m=8,t=2,p=1$")


async def test_a_password_that_is_changed_while_it_is_checked_opens_nothing(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    await auth.open_account()
    check = PasswordHashes.verify

    async def check_slowly(self: PasswordHashes, password_hash: str | None, password: str) -> bool:
        is_right = await check(self, password_hash, password)
        async with auth.database.connection() as connection:
            await connection.execute("UPDATE auth.accounts SET password_hash = 'another'")
        return is_right

    monkeypatch.setattr(PasswordHashes, "verify", check_slowly)
    assert (await auth.log_in()).status_code == 401
    assert await auth.count("sessions") == 0
    assert await auth.count("api_keys") == 1


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, ["email", "password"]),
        ({"email": 7, "password": None}, ["email", "password"]),
        ([], ["body"]),
    ],
)
async def test_what_is_no_login_is_named(auth: Auth, body: Any, named: list[str]) -> None:
    answer = await auth.http.post("/api/v1/login", json=body)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == named


async def test_nothing_secret_is_stored_or_logged(auth: Auth, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await auth.open_account()
    answer = await auth.log_in()
    async with auth.database.connection() as connection:
        stored = str(await connection.fetch("SELECT s::text, k::text FROM auth.sessions s, auth.api_keys k"))
    for secret in (token_of(answer), answer.json()["api_key"], PASSWORD):
        assert secret not in stored + caplog.text + str(await auth.events())


async def test_a_flood_of_logins_is_told_to_come_back(postgres_url: str) -> None:
    slow = AuthSettings(
        password_hashes_at_once=1, password_hashes_waiting=2, attempts_per_client=100, logins_per_email=100
    )
    async with open_auth(postgres_url, settings=slow) as auth:
        answers = await asyncio.gather(*(auth.log_in() for _ in range(10)))
    assert sorted({answer.status_code for answer in answers}) == [401, 503]
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
