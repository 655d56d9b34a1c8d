"""Other services may ask which keys are an account's own, and learn no more than that."""

from uuid import UUID, uuid4

import msgspec

from shared.contracts.keys import MAX_KEYS_ASKED, OWNED_PATH, OwnedKeys
from tests.auth.conftest import Auth


async def ask(auth: Auth, account_id: str, *key_ids: UUID) -> set[UUID]:
    body = {"account_id": account_id, "key_ids": [str(each) for each in key_ids]}
    answer = await auth.http.post(OWNED_PATH, json=body)
    assert answer.status_code == 200, answer.text
    return set(msgspec.json.decode(answer.content, type=OwnedKeys).key_ids)


async def test_keys_of_the_account_are_told_also_when_they_have_ended_and_no_others(auth: Auth) -> None:
    nora, pia = await auth.open_account(), await auth.open_account("pia@example.test")
    mine, theirs = await auth.verify(nora["api_key"]), await auth.verify(pia["api_key"])
    assert mine is not None
    assert theirs is not None
    asked = (mine.key_id, theirs.key_id, uuid4())
    assert await ask(auth, nora["account_id"], *asked) == {mine.key_id}
    async with auth.database.connection() as connection:
        await connection.execute("UPDATE auth.api_keys SET revoked_at = now()")
    assert await auth.verify(nora["api_key"]) is None
    assert await ask(auth, nora["account_id"], *asked) == {mine.key_id}
    assert await ask(auth, str(uuid4()), *asked) == set()
    assert await ask(auth, nora["account_id"]) == set()


async def test_a_question_that_makes_no_sense_is_refused(auth: Auth) -> None:
    for body, status in (
        (b"{", 400),
        (b"{}", 422),
        (msgspec.json.encode({"account_id": "x", "key_ids": []}), 422),
        (msgspec.json.encode({"account_id": uuid4(), "key_ids": [uuid4()] * (MAX_KEYS_ASKED + 1)}), 422),
    ):
        assert (await auth.http.post(OWNED_PATH, content=body)).status_code == status
