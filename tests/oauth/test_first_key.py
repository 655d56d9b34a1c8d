"""The first key of an account that was opened in a browser is given out once: case P21."""

import asyncio
import logging
from datetime import timedelta

import pytest

from services.auth.pending_keys import WAITS
from shared.contracts.sessions import OPENER_HEADER
from tests.auth.conftest import T0
from tests.gateway.visitor import ask
from tests.oauth.conftest import ORIGIN, RETRIEVE, SESSION, Browser, Street

PIA = {"sub": "g-2", "email": "pia@example.test", "email_verified": True}
NORA = {"sub": "g-1", "email": "nora@example.test", "email_verified": True}


async def database_text(street: Street) -> str:
    """All that the schema holds, as one text."""
    async with street.auth.database.connection() as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'auth'")
        rows = [await connection.fetch(f"SELECT t::text FROM auth.{table[0]} t") for table in tables]
    return "\n".join(str(row[0]) for found in rows for row in found)


async def test_of_twenty_that_ask_at_once_one_gets_the_key(street: Street) -> None:
    pia, nora = await street.enter(PIA), await street.enter(NORA)
    on_both = [Browser(street.gateways[number % 2], dict(pia.cookies)) for number in range(20)]
    assert (await pia.get(RETRIEVE, method="HEAD")).status == 405
    waits = (await street.account_of(pia))["api_key"]["retrievable_until"]
    assert waits == "2027-01-15T08:10:00Z"
    assert (await ask(pia.app, "GET", RETRIEVE)).status == 401
    answers = await asyncio.gather(
        *(b.get(RETRIEVE) if number % 3 else b.post(RETRIEVE) for number, b in enumerate(on_both))
    )
    assert sorted(answer.status for answer in answers) == [200, *[410] * 19]
    assert all(answer.get("cache-control") == "no-store" for answer in answers)
    [answer] = [answer for answer in answers if answer.status == 200]
    key = answer.json["api_key"]
    assert set(answer.json) == {"api_key", "key_id"}
    assert await street.key_status(key) == 200
    assert (await pia.post(RETRIEVE)).status == 410
    assert (await street.account_of(pia))["api_key"]["retrievable_until"] is None
    # Another's session gets that one's own key or none, and never this one.
    hers = await nora.post(RETRIEVE)
    assert hers.json["api_key"] != key
    _, _ = await street.register("bob@example.test")


async def test_another_session_of_the_account_or_of_anybody_has_nothing_waiting(street: Street) -> None:
    pia = await street.enter(PIA)
    again = await street.enter(PIA)
    for browser in (again, await street.enter(NORA)):
        mixed = Browser(street.gateways[1], {SESSION: browser.cookies[SESSION]})
        if browser is again:
            assert (await mixed.post(RETRIEVE)).status == 404
    assert (await pia.post(RETRIEVE)).status == 200


async def test_what_waits_cannot_be_read_in_the_database_or_in_logs(
    street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    browser = street.browser()
    answer = await street.log_in(browser, PIA)
    before = await database_text(street)
    token = browser.session
    assert token
    assert "llmr_pk_" not in str(answer)
    key = (await browser.post(RETRIEVE)).json["api_key"]
    for secret in (key, key.removeprefix("llmr_pk_"), key.encode().hex(), token, token.encode().hex()):
        assert secret not in before
        assert secret not in caplog.text
    after = await database_text(street)
    async with street.auth.database.connection() as connection:
        assert (
            await connection.fetchval("SELECT count(*) FROM auth.pending_keys WHERE sealed IS NOT NULL") == 0
        )
    assert key not in after


async def test_a_key_waits_ten_minutes_and_is_forgotten_then(street: Street) -> None:
    punctual, late = await street.enter(PIA), await street.enter(NORA)
    street.clock.at = T0 + WAITS - timedelta(seconds=1)
    assert (await punctual.post(RETRIEVE)).status == 200
    street.clock.at = T0 + WAITS
    await street.enter({"sub": "g-3", "email": "new@example.test", "email_verified": True})
    async with street.auth.database.connection() as connection:
        waiting = await connection.fetchval("SELECT count(*) FROM auth.pending_keys WHERE sealed IS NOT NULL")
    assert waiting == 1, "the next login forgets what has waited too long"
    assert (await late.post(RETRIEVE)).status == 410


async def test_a_key_that_was_replaced_or_revoked_meanwhile_is_not_given_out(street: Street) -> None:
    pia = await street.enter(PIA)
    new = await pia.post("/api/v1/auth/regenerate-api-key")
    assert (new.status, new.json["revoked_keys"]) == (201, 1)
    assert (await pia.post(RETRIEVE)).status == 410


async def test_nothing_but_the_persons_own_wish_spends_it(street: Street) -> None:
    """Another site's link, a prefetch, a key instead of a session, a made-up opener."""
    pia = await street.enter(PIA)
    _, key = await street.register("bob@example.test")
    for headers in (
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Purpose", "prefetch;prerender")],
        [("Purpose", "prefetch")],
    ):
        assert (await pia.get(RETRIEVE, *headers)).status == 403, headers
    evil = [("Origin", "https://evil.test")]
    assert (await pia.get(RETRIEVE, *evil, method="POST")).status == 403
    opener = [(OPENER_HEADER.decode(), "00" * 32)]
    assert (await ask(pia.app, "POST", RETRIEVE, [("X-API-Key", key), *opener])).status == 403
    assert (await pia.get(RETRIEVE, *opener, ("Sec-Fetch-Site", "same-origin"))).status == 200


async def test_the_key_is_lost_with_its_session_and_not_with_the_page(street: Street) -> None:
    pia = await street.enter(PIA)
    assert (await pia.post("/api/v1/auth/logout")).status == 204
    assert SESSION not in pia.cookies
    assert await street.auth.count("pending_keys") == 0
    again = await street.enter(PIA)
    assert (await again.post(RETRIEVE)).status == 404
    new = await again.post("/api/v1/auth/regenerate-api-key", ("Origin", ORIGIN))
    assert new.status == 201
    assert await street.key_status(new.json["api_key"]) == 200
