"""Whose account it is: case P18, and its neighbours."""

import asyncio
from typing import Any

from tests.auth.conftest import PASSWORD
from tests.gateway.visitor import Answer, ask
from tests.oauth.conftest import JSON, RETRIEVE, SESSION, Browser, Street

NORA = {"sub": "g-1", "email": "nora@example.test", "email_verified": True}
PIA = {"sub": "g-2", "email": "Pia@example.test", "email_verified": True}


def refused(answer: Answer, status: int, kind: str) -> bool:
    return (
        answer.status == status
        and answer.json["type"].endswith(f"/{kind}")
        and not any(SESSION in line for line in answer.all("set-cookie"))
    )


def on_github(number: int, *emails: tuple[str, bool, bool], **profile: Any) -> dict[str, Any]:
    return {
        "id": number,
        "login": f"user{number}",
        "email": None,
        **profile,
        "emails": [{"email": e, "primary": p, "verified": v} for e, p, v in emails],
    }


async def test_an_address_that_the_provider_has_not_checked_joins_no_account_and_opens_none(
    street: Street,
) -> None:
    """Case P18 (a), and whatever else is not the JSON word true."""
    await street.register("nora@example.test")
    for said in (False, None, "true", 1, "false"):
        browser = street.browser()
        answer = await street.log_in(browser, {**NORA, "email_verified": said})
        assert refused(answer, 403, "email-not-verified"), (said, answer.body)
        assert browser.session is None
    answer = await street.log_in(street.browser(), {"sub": "g-1", "email": None})
    assert refused(answer, 403, "email-not-verified")
    answer = await street.log_in(street.browser(), {**NORA, "email": "nora@exa\u212aple.test"})
    assert refused(answer, 403, "forbidden")  # the Kelvin sign: no such address has an account
    assert await street.auth.count("identities") == 0
    assert await street.auth.count("accounts") == 1
    assert await street.auth.count("sessions") == 0


async def test_of_github_only_the_primary_and_checked_address_counts(street: Street) -> None:
    """Case P18 (b) and (d)."""
    await street.register("nora@example.test")
    eve = on_github(
        7,
        ("nora@example.test", True, False),
        ("eve@example.test", False, True),
        email="nora@example.test",
    )
    answer = await street.log_in(street.browser(), eve, "github")
    assert refused(answer, 403, "email-not-verified")
    assert await street.auth.count("identities") == 0
    for odd in ([], None, {"email": "nora@example.test"}, ["x"], [{"primary": True, "verified": True}]):
        answer = await street.log_in(street.browser(), {**eve, "emails": odd}, "github")
        assert refused(answer, 403, "email-not-verified"), odd
    dan = await street.enter(on_github(8, ("dan@example.test", True, True)), "github")
    assert (await street.account_of(dan))["email"] == "dan@example.test"
    assert (await street.account_of(dan))["email_verified"] is True


async def test_joining_an_account_whose_address_nobody_had_verified_ends_all_that_could_open_it(
    street: Street,
) -> None:
    """Case P18 (c): a stranger registers the owner's address first, and keeps nothing of it."""
    account_id, first_key = await street.register("pia@example.test")
    stranger = street.browser()
    login = await ask(
        stranger.app,
        "POST",
        "/api/v1/login",
        [JSON],
        f'{{"email":"pia@example.test","password":"{PASSWORD}"}}'.encode(),
    )
    stranger.cookies[SESSION] = (login.get("set-cookie") or "").partition(";")[0].partition("=")[2]
    keys = [first_key, login.json["api_key"]]
    assert (await street.account_of(stranger))["account_id"] == account_id
    assert [await street.key_status(key) for key in keys] == [200, 200]
    events = len(await street.auth.events())

    pia = await street.enter(PIA)
    me = await street.account_of(pia)
    assert me["account_id"] == account_id
    assert (me["email_verified"], me["has_password"]) == (True, False)
    assert me["api_key"]["live_keys"] == 1
    told = (await street.auth.events())[events:]
    [ended] = [event for event in told if event.void_before is not None]
    assert (ended.key_ids, str(ended.account_id), ended.void_before) == ((), account_id, ended.changed_at)
    async with asyncio.timeout(1):  # the gateway knows them, and has to be told by the event
        while (await stranger.get("/api/v1/auth/me")).status != 401:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)
    for key in keys:
        assert await street.key_status(key) == 401
    body = {"email": "pia@example.test", "password": PASSWORD}
    assert (await street.post_json("/api/v1/login", body)).status == 401

    retrieved = await pia.post(RETRIEVE)
    assert retrieved.status == 200
    assert await street.key_status(retrieved.json["api_key"]) == 200
    audit = await ask(pia.app, "GET", "/api/v1/audit?limit=100", [("X-API-Key", retrieved.json["api_key"])])
    entries = [(e["action"], e["client"]) for e in audit.json["entries"]]
    for action in ("identity.linked", "account.reclaimed", "session.opened", "key.created"):
        assert (action, "198.51.100.7") in entries, audit.body
    assert [action for action, _ in entries].count("key.revoked") == 2
    assert b"llmr_pk_" + retrieved.json["api_key"][8:20].encode() not in audit.body


async def test_a_verified_account_is_joined_and_keeps_what_it_has(street: Street) -> None:
    account_id, key = await street.register("nora@example.test")
    await street.mark_verified(account_id)
    by_google = await street.enter(NORA)
    by_github = await street.enter(on_github(9, ("NORA@example.test", True, True)), "github")
    for browser in (by_google, by_github):
        me = await street.account_of(browser)
        assert (me["account_id"], me["has_password"]) == (account_id, True)
        assert (await browser.post(RETRIEVE)).status == 404  # nothing waits: the old keys go on
    assert await street.key_status(key) == 200
    body = {"email": "nora@example.test", "password": PASSWORD}
    assert (await street.post_json("/api/v1/login", body)).status == 200


async def test_a_reset_leaves_a_strangers_keys_and_joining_ends_them_and_all_that_they_made(
    street: Street,
) -> None:
    """A stranger registered the address; its owner resets the password by mail, and comes by Google later."""
    auth = street.auth
    account_id, planted = await street.register("pia@example.test")
    link = await auth.get_reset_token("pia@example.test")
    done = await street.post_json(
        "/api/v1/password-reset/confirm", {"token": link, "new_password": "pias own battery"}
    )
    assert done.json["api_keys_still_valid"] == 1
    assert await street.key_status(planted) == 200

    async def make(key: str, path: str = "", body: str = '{"scopes":["read","admin"]}') -> str:
        headers = [JSON, ("X-API-Key", key)]
        answer = await ask(street.gateways[0], "POST", f"/api/v1/keys{path}", headers, body.encode())
        assert answer.status == 201, answer.body
        made: str = answer.json["api_key"]
        return made

    body = {"email": "pia@example.test", "password": "pias own battery"}
    logged_in = (await street.post_json("/api/v1/login", body)).json["api_key"]
    own = await make(logged_in)
    stolen = [planted, await make(planted)]
    stolen.append(await make(stolen[1]))
    found = await auth.verify(own)
    assert found is not None
    stolen.append(await make(planted, f"/{found.key_id}/rotate", '{"grace_seconds":60}'))
    owned = [logged_in, own, await make(logged_in)]

    pia = await street.enter(PIA)
    me = await street.account_of(pia)
    assert (me["account_id"], me["has_password"]) == (account_id, True)
    assert [await street.key_status(key) for key in owned] == [200] * 3
    for key in stolen:
        assert await auth.verify(key) is None
    [ended] = [event for event in await auth.events() if event.void_before is not None]
    assert (len(ended.key_ids), found.key_id in ended.key_ids) == (4, False)
    entry = (await pia.get("/api/v1/audit?action=account.reclaimed")).json["entries"][0]
    assert (entry["before"], entry["after"]) == ({"unproven_keys": 4}, {"unproven_keys": 0})
    # The next one who joins ends nothing more, and so does a reset of an address that was verified before.
    await street.enter(on_github(9, ("pia@example.test", True, True)), "github")
    link = await auth.get_reset_token("pia@example.test")
    assert (await auth.confirm_reset(link, "another battery of hers")).status_code == 200
    await street.enter({"sub": "g-9", "email": "pia@example.test", "email_verified": True})
    assert [await street.key_status(key) for key in owned] == [200] * 3


async def test_somebody_is_known_again_by_the_subject_whatever_became_of_the_address(street: Street) -> None:
    """Case P18 (e): also when the address is another account's now, or is not verified any more."""
    account_id = (await street.account_of(await street.enter(PIA)))["account_id"]
    await street.register("nora@example.test")
    for told in ({"email": "new@example.test"}, NORA | PIA | {"email": "nora@example.test"}):
        again = await street.enter({**PIA, **told})
        assert (await street.account_of(again))["account_id"] == account_id
    again = await street.enter({**PIA, "email_verified": False})
    me = await street.account_of(again)
    assert (me["account_id"], me["email"]) == (account_id, PIA["email"])
    # The same subject at another provider is somebody else.
    number = on_github(2, ("two@example.test", True, True))
    other = await street.enter({**number, "id": 2}, "github")
    same = await street.enter({"sub": "2", "email": "three@example.test", "email_verified": True})
    ids = {(await street.account_of(b))["account_id"] for b in (other, same)}
    assert len(ids | {account_id}) == 3


async def test_an_address_may_come_from_userinfo_if_that_tells_of_the_same_person(street: Street) -> None:
    street.providers.email_in_userinfo = True
    browser = await street.enter(PIA)
    assert (await street.account_of(browser))["email"] == PIA["email"]
    street.providers.claims = {"sub": "g-9"}
    answer = await street.log_in(street.browser(), PIA)
    assert refused(answer, 400, "malformed-request")


async def test_a_suspended_account_is_not_entered(street: Street) -> None:
    account_id = (await street.account_of(await street.enter(PIA)))["account_id"]
    assert (await street.auth.patch(account_id, {"suspended": True})).status_code == 200
    answer = await street.log_in(street.browser(), PIA)
    assert refused(answer, 403, "forbidden")
    other = on_github(3, ("pia@example.test", True, True))
    assert refused(await street.log_in(street.browser(), other, "github"), 403, "forbidden")


async def test_many_first_logins_of_one_person_at_once_open_one_account(street: Street) -> None:
    browsers: list[Browser] = [street.browser(number % 2) for number in range(8)]
    answers = await asyncio.gather(*(street.log_in(browser, PIA) for browser in browsers))
    assert [answer.status for answer in answers] == [302] * 8, [a.body for a in answers]
    assert {(await street.account_of(b))["account_id"] for b in browsers if b.session} != set()
    assert await street.auth.count("accounts") == 1
    assert await street.auth.count("identities") == 1
    assert await street.auth.count("api_keys") == 1
    waiting = [(await browser.post(RETRIEVE)).status for browser in browsers]
    assert sorted(waiting) == [200, *[404] * 7]
