"""Setting a password by a link: cases P14, P15 and P17, as far as one service has them."""

import asyncio
import hashlib
import statistics
import time
from datetime import timedelta
from email.message import EmailMessage

import pytest

from shared.errors import UnavailableError
from tests.auth.conftest import PASSWORD, Auth, link_token

NEW = "another horse battery"
DEAD = "This link does not work, or does not work any more: ask for a new one."


async def test_a_link_sets_the_password_ends_sessions_and_leaves_keys(auth: Auth) -> None:
    key = (await auth.open_account())["api_key"]
    sessions = [await auth.open_session(), await auth.open_session()]
    token = await auth.get_reset_token()
    answer = await auth.confirm_reset(token, NEW)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    body = answer.json()
    assert (body["sessions_ended"], body["api_keys_still_valid"]) == (2, 3)
    assert "API keys stay valid" in body["detail"]
    assert [await auth.verify_session(session) for session in sessions] == [None, None]
    assert await auth.verify(key) is not None
    assert (await auth.events())[-1].key_ids == ()  # every gateway asks for all of the account's anew
    assert (await auth.log_in(password=PASSWORD)).status_code == 401
    header = await auth.by_session(await auth.open_session(password=NEW))
    assert (await auth.http.get("/api/v1/auth/me", headers=header)).json()["email_verified"]
    entries = (await auth.http.get("/api/v1/audit", headers=header)).json()["entries"]
    [entry] = [entry for entry in entries if entry["action"] == "password.reset"]
    assert (entry["actor"]["kind"], entry["after"]) == ("account", {"sessions_ended": 2})


async def test_a_newer_link_kills_the_older_and_one_of_twenty_wins(auth: Auth) -> None:
    """Case P15."""
    await auth.open_account()
    old, new = await auth.get_reset_token(), await auth.get_reset_token()
    assert old != new
    refused = await auth.confirm_reset(old, NEW)
    assert (refused.status_code, refused.json()["detail"]) == (400, DEAD)
    passwords = [f"Pw-{n:02}-xxxx" for n in range(20)]
    answers = await asyncio.gather(*(auth.confirm_reset(new, password) for password in passwords))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19
    again = await auth.confirm_reset(new, NEW)
    assert {answer.content for answer in answers if answer.status_code == 400} == {
        refused.content,
        again.content,
    }
    winner = [answer.status_code for answer in answers].index(200)
    auth.clock.at += timedelta(minutes=1)
    logins = [(await auth.log_in(password=passwords[n])).status_code for n in (winner, winner - 1)]
    assert logins == [200, 401]


async def test_a_link_lives_for_thirty_minutes(auth: Auth) -> None:
    await auth.open_account()
    token = await auth.get_reset_token()
    auth.clock.at += timedelta(minutes=30)
    assert (await auth.confirm_reset(token, NEW)).json()["detail"] == DEAD
    token = await auth.get_reset_token()
    auth.clock.at += timedelta(minutes=30) - timedelta(seconds=1)
    assert (await auth.confirm_reset(token, NEW)).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "\0", "ü" * 43, "x" * 50_000])
async def test_what_is_no_link_is_refused_as_an_old_one_is(auth: Auth, token: str) -> None:
    answer = await auth.confirm_reset(token, NEW)
    assert (answer.status_code, answer.json()["detail"]) == (400, DEAD)


async def test_a_password_that_is_not_accepted_does_not_spend_the_link(auth: Auth) -> None:
    await auth.open_account()
    token = await auth.get_reset_token()
    for password in ("short", "password123", "a" * 1025, "correct\0horse battery"):
        answer = await auth.confirm_reset(token, password)
        assert answer.status_code == 422
        assert [fault["field"] for fault in answer.json()["errors"]] == ["new_password"]
    assert (await auth.confirm_reset(token, NEW)).status_code == 200


async def test_no_copy_of_the_database_hands_out_links(auth: Auth, caplog: pytest.LogCaptureFixture) -> None:
    await auth.open_account()
    token = await auth.get_reset_token()
    async with auth.database.connection() as connection:
        tables = await connection.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'auth'"
        )
        dump = ""
        for row in tables:
            dump += str(await connection.fetch(f"SELECT t::text FROM auth.{row['table_name']} t"))
    assert hashlib.sha256(token.encode()).hexdigest() in dump
    assert token not in dump
    caplog.clear()
    await auth.confirm_reset(token, NEW)
    assert token not in caplog.text + str(await auth.events())


async def test_known_and_unknown_addresses_are_answered_alike(auth: Auth) -> None:
    """Case P14."""
    await auth.open_account("nora@example.test")
    assert (
        await auth.http.post(
            "/api/v1/cli/register", json={"email": "olaf@example.test", "accept_terms": True}
        )
    ).status_code == 201
    suspended = await auth.open_account("uma@example.test")
    await auth.patch(suspended["account_id"], {"suspended": True})
    await auth.send_mails()
    before = len(auth.list_mails())
    addresses = ("nora@example.test", "olaf@example.test", "uma@example.test", "zoe@example.test")
    answers = [await auth.ask_reset(email, client=f"198.51.100.{n}") for n, email in enumerate(addresses * 4)]
    assert [answer.status_code for answer in answers] == [202] * 12 + [429] * 4
    assert len({(a.content, str(sorted(a.headers))) for a in answers[:12]}) == 1
    assert len({(a.content, a.headers["retry-after"]) for a in answers[12:]}) == 1
    await auth.send_mails()
    assert (
        sorted(mail["To"] for mail in auth.list_mails()[before:]) == [addresses[0]] * 3 + [addresses[1]] * 3
    )
    auth.clock.at += timedelta(days=1, seconds=1)
    await auth.send_mails()
    assert await auth.count("mails") == 0
    for email in addresses[:3]:
        assert (await auth.register(email)).status_code == 409


async def test_known_and_unknown_addresses_take_the_same_time(auth: Auth) -> None:
    await auth.open_account("nora@example.test")
    times: dict[str, list[float]] = {"nora@example.test": [], "zoe@example.test": []}
    for n in range(60):
        auth.clock.at += timedelta(minutes=1)
        for email, taken in times.items():
            began_at = time.perf_counter()
            assert (await auth.ask_reset(email, client=f"2001:db8:{n:x}::1")).status_code == 202
            taken.append(time.perf_counter() - began_at)
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert abs(known - unknown) < max(0.005, 0.05 * known)


async def test_a_client_may_ask_and_try_so_often(auth: Auth) -> None:
    asked = [await auth.ask_reset(f"u{n}@example.test") for n in range(31)]
    assert [answer.status_code for answer in asked] == [202] * 30 + [429]
    tried = [await auth.confirm_reset("x" * 43, NEW) for _ in range(31)]
    assert [answer.status_code for answer in tried] == [400] * 30 + [429]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in (asked[-1], tried[-1]))


async def test_what_is_no_address_is_named(auth: Auth) -> None:
    for body in (
        {},
        {"email": 7},
        {"email": "nora"},
        {"email": "a\0@example.test"},
        {"email": "operator@localhost"},
    ):
        answer = await auth.http.post("/api/v1/password-reset", json=body)
        assert answer.status_code == 422
        assert [fault["field"] for fault in answer.json()["errors"]] == ["email"]


async def test_an_account_from_the_command_line_gets_a_link_to_its_first_password(auth: Auth) -> None:
    body = {"email": "olaf@example.test", "accept_terms": True, "project_name": "laptop"}
    key = (await auth.http.post("/api/v1/cli/register", json=body)).json()["api_key"]
    await auth.send_mails()
    [mail] = auth.list_mails()
    assert (mail["To"], mail["Subject"]) == ("olaf@example.test", "Choose a password for your account")
    answer = await auth.confirm_reset(link_token(mail), NEW)
    assert (answer.json()["sessions_ended"], answer.json()["api_keys_still_valid"]) == (0, 1)
    header = await auth.by_session(await auth.open_session("olaf@example.test", NEW))
    me = (await auth.http.get("/api/v1/auth/me", headers=header)).json()
    assert (me["has_password"], me["email_verified"]) == (True, True)
    assert await auth.verify(key) is not None


async def test_a_refused_registration_sends_nothing(auth: Auth) -> None:
    await auth.open_account("nora@example.test")
    body = {"email": "nora@example.test", "accept_terms": True}
    assert (await auth.http.post("/api/v1/cli/register", json=body)).status_code == 409
    assert await auth.count("mails") == 0


async def test_a_reset_holds_while_the_event_log_is_away(auth: Auth) -> None:
    await auth.open_account()
    token = await auth.get_reset_token()
    auth.log.failure = UnavailableError("away")
    assert (await auth.confirm_reset(token, NEW)).status_code == 200
    assert await auth.count("outbox") == 1  # for the relay


def test_a_mail_says_the_same_in_text_and_html() -> None:
    from services.auth.mail.letters import Letters
    from services.auth.settings import AuthSettings
    from shared.clock import SystemClock

    settings = AuthSettings(
        public_url="https://api.example.test/", smtp_from="LLMRing <no-reply@example.test>"
    )
    letters = Letters(settings, SystemClock())
    for kind in ("password_reset", "set_password"):
        mail: EmailMessage = letters.write(kind, "o'neil&sons@example.test", "t" * 43, 30)  # type: ignore[arg-type]
        text, html = (mail.get_body((each,)) for each in ("plain", "html"))
        assert text is not None
        assert html is not None
        assert "o'neil&sons@example.test" in text.get_content()
        assert "o&#x27;neil&amp;sons@example.test" in html.get_content()
        link = "https://api.example.test/password-reset#" + "t" * 43
        assert f"\n{link}\n" in text.get_content()
        assert f'href="{link}"' in html.get_content()
        assert "$" not in text.get_content() + html.get_content()
        assert (mail["From"], mail["Auto-Submitted"]) == ("LLMRing <no-reply@example.test>", "auto-generated")
        assert mail["Message-ID"].endswith("@example.test>")
