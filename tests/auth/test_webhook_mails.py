"""An account whose webhook was disabled gets a mail, once."""

import json
from uuid import UUID, uuid4

import pytest

from services.auth.service import SCHEMA
from services.auth.tell_of_webhooks import build_notices
from shared.contracts.topics import USAGE_DEAD, WEBHOOKS_DISABLED
from shared.event_log.port import FencedError, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from tests.auth.conftest import T0, Auth
from tests.receipts.event_log import read_all

HOOK = "01a22879-3339-7000-a9b2-c49f632a3ebb"


def disabled(account_id: str, **changes: object) -> bytes:
    event = {
        "event_id": str(UUID(int=9)),
        "account_id": account_id,
        "webhook_id": HOOK,
        "host": "hooks.example.com",
        "reason": "gone",
        "disabled_at": "2027-01-15T07:59:00Z",
    }
    return json.dumps(event | changes).encode()


async def take(auth: Auth, first: int, *values: bytes) -> None:
    notices = build_notices(
        auth.database,
        auth.log,  # type: ignore[arg-type]  # the real one behind a switch
        PostgresPositions(auth.database, SCHEMA.name),
        auth.clock,
    )
    records = [
        StoredRecord(WEBHOOKS_DISABLED, 0, first + number, b"", value, (), T0)
        for number, value in enumerate(values)
    ]
    await notices.take(Slice(WEBHOOKS_DISABLED, 0, tuple(records), first))


async def test_the_mail_says_which_webhook_and_why_and_comes_once(auth: Auth) -> None:
    account = await auth.open_account()
    again = disabled(account["account_id"])
    failing = disabled(account["account_id"], event_id=str(uuid4()), reason="failing")
    await take(auth, 0, again, again, disabled(str(uuid4()), event_id=str(uuid4())))
    await take(auth, 3, again, failing)
    with pytest.raises(FencedError):
        await take(auth, 0, again)
    assert await auth.send_mails() is None
    mails = auth.list_mails()
    assert [mail["To"] for mail in mails] == ["nora@example.test"] * 2
    assert {mail["Subject"] for mail in mails} == {"A webhook of yours was disabled"}
    texts = []
    for mail in mails:
        for kind in ("plain", "html"):
            body = mail.get_body((kind,))
            assert body is not None
            text = " ".join(body.get_content().split())
            assert all(each in text for each in (HOOK, "hooks.example.com", "2027-01-15T07:59:00Z"))
            assert "password-reset" not in text
            texts.append(text)
    assert sum("410" in text for text in texts) == sum("five days" in text for text in texts) == 2
    assert await auth.count("password_links") == 0


async def test_what_cannot_be_read_is_set_aside(auth: Auth) -> None:
    account = await auth.open_account()
    await take(
        auth,
        0,
        b"{",
        disabled(account["account_id"], v=2),
        disabled(account["account_id"], reason="bored"),
        disabled(account["account_id"]),
    )
    assert await auth.count("mails") == 1
    dead = await read_all(auth.log, USAGE_DEAD, wait_for=3)  # type: ignore[arg-type]
    assert {dict(each.headers)["dead-letter-topic"] for each in dead} == {b"webhooks.disabled"}
