"""What was done to webhooks is in the audit log, once, and shown to whoever may see the account's."""

import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from services.auth.note_webhooks import build_webhook_audit
from services.auth.service import SCHEMA
from services.auth.tell_of_webhooks import build_notices
from shared.clock import rfc3339
from shared.contracts.topics import USAGE_DEAD, WEBHOOKS_CHANGED, WEBHOOKS_DISABLED
from shared.event_log.port import FencedError, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from tests.auth.conftest import T0, Auth
from tests.auth.test_audit import entries
from tests.auth.test_webhook_mails import HOOK, disabled
from tests.receipts.event_log import read_all

KEY = str(UUID(int=7))


def changed(account_id: str, **changes: object) -> bytes:
    event = {
        "event_id": str(UUID(int=9)),
        "account_id": account_id,
        "webhook_id": HOOK,
        "action": "webhook.changed",
        "actor": "key",
        "actor_id": KEY,
        "client": "198.51.100.7",
        "before": {"status": "enabled"},
        "after": {"status": "disabled"},
        "changed_at": rfc3339(T0 + timedelta(seconds=1)),
    }
    return json.dumps(event | changes).encode()


async def take(auth: Auth, topic: str, first: int, *values: bytes) -> None:
    positions = PostgresPositions(auth.database, SCHEMA.name)
    log = auth.log
    taker = (
        build_webhook_audit(auth.database, log, positions)  # type: ignore[arg-type]  # the real one behind a switch
        if topic == WEBHOOKS_CHANGED
        else build_notices(auth.database, log, positions, auth.clock)  # type: ignore[arg-type]  # likewise
    )
    records = [StoredRecord(topic, 0, first + n, b"", value, (), T0) for n, value in enumerate(values)]
    await taker.take(Slice(topic, 0, tuple(records), first))


async def test_a_change_of_a_webhook_is_one_entry_however_often_it_is_told(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    by_session = changed(
        account_id, event_id=str(uuid4()), action="webhook.created", actor="session", before=None
    )
    await take(auth, WEBHOOKS_CHANGED, 0, changed(account_id), by_session)
    await take(auth, WEBHOOKS_CHANGED, 2, changed(account_id))
    with pytest.raises(FencedError):
        await take(auth, WEBHOOKS_CHANGED, 0, changed(account_id))
    [entry] = await entries(auth, auth.token_of(account_id, "admin"), action="webhook.changed")
    assert (entry["id"], entry["at"], entry["target_id"]) == (str(UUID(int=9)), "2027-01-15T08:00:01Z", HOOK)
    assert entry["actor"] == {"kind": "key", "account_id": account_id, "key_id": KEY, "session_id": None}
    assert (entry["client"], entry["before"], entry["after"]) == (
        "198.51.100.7",
        {"status": "enabled"},
        {"status": "disabled"},
    )
    [made] = await entries(auth, auth.token_of(account_id, "admin"), action="webhook.created")
    assert (made["actor"]["session_id"], made["actor"]["key_id"], made["before"]) == (KEY, None, None)
    other = (await auth.open_account("pia@example.test"))["account_id"]
    assert await entries(auth, auth.token_of(other, "admin"), action="webhook.changed") == []


async def test_a_webhook_that_the_system_disabled_has_an_entry(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    await take(auth, WEBHOOKS_DISABLED, 0, disabled(account_id), disabled(account_id))
    [entry] = await entries(auth, auth.token_of(account_id, "admin"), action="webhook.disabled")
    assert (entry["actor"]["kind"], entry["target_id"]) == ("system", HOOK)
    assert entry["after"] == {"status": "disabled", "reason": "gone", "host": "hooks.example.com"}


async def test_what_cannot_be_read_or_stored_is_set_aside(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    nul = changed(account_id, event_id=str(uuid4()), after={"description": "\0"})
    await take(
        auth, WEBHOOKS_CHANGED, 0, b"[", changed(account_id, v=2), nul,
        changed(account_id, action="webhook.eaten"), changed(account_id),
    )  # fmt: skip
    assert len(await entries(auth, auth.token_of(account_id, "admin"), action="webhook.changed")) == 1
    dead = await read_all(auth.log, USAGE_DEAD, wait_for=4)  # type: ignore[arg-type]
    assert {dict(each.headers)["dead-letter-topic"] for each in dead} == {b"webhooks.changed"}


async def test_no_text_of_a_webhook_keeps_what_was_done_to_it_out_of_the_log(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    texts = [r"\u0000", r"\\u0000", "\\", '"\\u0000"']
    await take(
        auth,
        WEBHOOKS_CHANGED,
        0,
        *(changed(account_id, event_id=str(uuid4()), after={"description": text}) for text in texts),
    )
    found = await entries(auth, auth.token_of(account_id, "admin"), action="webhook.changed")
    assert sorted(entry["after"]["description"] for entry in found) == sorted(texts)
