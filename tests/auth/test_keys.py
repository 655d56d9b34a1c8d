"""An account's keys: made, shown once, changed, rotated with an overlap, revoked; nobody else's."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from services.auth.forget import Forgetting
from services.auth.operator import ensure_operator
from services.auth.settings import AuthSettings
from shared.errors import UnavailableError
from shared.ids import uuid7
from tests.auth.conftest import T0, Auth
from tests.auth.test_audit import entries

HOUR_LATER = "2027-01-15T09:00:00Z"
ALL = ["log", "read", "admin"]


@dataclass
class Owner:
    """Whoever holds an account's first key."""

    auth: Auth
    account_id: str
    key: str
    key_id: str
    scopes: tuple[str, ...] = ("log", "read", "admin")

    async def ask(self, method: str, path: str = "", body: Any = None, **query: Any) -> httpx.Response:
        headers = self.auth.token_of(self.account_id, *self.scopes, key_id=self.key_id)
        content = b"" if body is None else msgspec.json.encode(body)
        return await self.auth.http.request(
            method, f"/api/v1/keys{path}", content=content, params=query, headers=headers
        )

    async def make(self, **fields: Any) -> dict[str, Any]:
        answer = await self.ask("POST", body=fields)
        assert answer.status_code == 201, answer.text
        assert answer.headers["cache-control"] == "no-store"
        made: dict[str, Any] = answer.json()
        return made

    async def names(self, **query: Any) -> list[str | None]:
        answer = await self.ask("GET", **query)
        assert answer.status_code == 200, answer.text
        return [key["name"] for key in answer.json()["keys"]]


async def open_owner(auth: Auth, email: str = "nora@example.test") -> Owner:
    account = await auth.open_account(email)
    found = await auth.verify(account["api_key"])
    assert found is not None
    return Owner(auth, account["account_id"], account["api_key"], str(found.key_id))


@pytest.fixture
async def nora(auth: Auth) -> Owner:
    return await open_owner(auth)


async def test_a_key_is_made_as_asked_and_its_text_is_never_seen_again(auth: Auth, nora: Owner) -> None:
    made = await nora.make(name=" CI ", scopes=["read", "log", "read"], expires_at=HOUR_LATER)
    key, plain = made["key"], made["api_key"]
    assert key == {
        "id": key["id"],
        "name": "CI",
        "prefix": plain[:16],
        "scopes": ["log", "read"],
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": HOUR_LATER,
        "last_used_at": None,
        "revoked_at": None,
        "current": False,
    }
    assert made["replaces"] is None
    found = await auth.verify(plain)
    assert found is not None
    assert (found.scopes, found.tier, str(found.account_id)) == (("log", "read"), "free", nora.account_id)
    assert found.expires_at == int(T0.timestamp()) + 3600
    listed = await nora.ask("GET")
    assert plain not in listed.text
    assert [(k["id"], k["current"]) for k in listed.json()["keys"]] == [
        (key["id"], False),
        (nora.key_id, True),
    ]
    assert listed.json()["keys"][0]["last_used_at"] == "2027-01-15T08:00:00Z"
    auth.clock.at += timedelta(hours=1)
    assert await auth.verify(plain) is None
    assert await nora.names() == [None]
    assert await nora.names(with_ended=True) == ["CI", None]


async def test_without_scopes_a_key_may_write_and_read(nora: Owner) -> None:
    assert (await nora.make())["key"]["scopes"] == ["log", "read"]
    assert (await nora.ask("POST", body={"colour": 1})).status_code == 201


async def test_a_key_cannot_give_what_it_has_not(auth: Auth, nora: Owner) -> None:
    other = (await nora.make(scopes=["log"]))["key"]["id"]
    # Even a forged grant of an operator's account, or a key that may administer and no more.
    admin = await nora.make(scopes=["admin"])
    narrow = Owner(auth, nora.account_id, admin["api_key"], admin["key"]["id"], ("admin",))
    assert (await nora.ask("POST", body={"scopes": ["operator"]})).status_code == 403
    assert (await nora.ask("PATCH", f"/{other}", {"scopes": ["log", "operator"]})).status_code == 403
    assert (await narrow.ask("POST", body={"scopes": ["admin", "read"]})).status_code == 403
    assert (await narrow.ask("POST", body={})).status_code == 422
    assert (await narrow.ask("PATCH", f"/{other}", {"scopes": ["log", "read"]})).status_code == 403
    refused = await narrow.ask("POST", f"/{other}/rotate", {})
    assert (refused.status_code, "log" in refused.json()["detail"]) == (403, True)
    # What a key has already it may keep, and it may lose it.
    assert (await narrow.ask("PATCH", f"/{other}", {"name": "x", "scopes": ["log"]})).status_code == 200
    assert (await narrow.ask("PATCH", f"/{other}", {"scopes": ["admin"]})).json()["scopes"] == ["admin"]


async def test_a_key_that_expires_leaves_none_behind_that_does_not(auth: Auth, nora: Owner) -> None:
    lasting = (await nora.make(scopes=["log"]))["key"]["id"]
    made = await nora.make(scopes=ALL, expires_at=HOUR_LATER)
    brief = Owner(auth, nora.account_id, made["api_key"], made["key"]["id"])
    assert (await brief.make())["key"]["expires_at"] == HOUR_LATER
    assert (await brief.make(expires_at=None))["key"]["expires_at"] == HOUR_LATER
    sooner = (await brief.make(expires_at="2027-01-15T08:30:00Z"))["key"]["id"]
    later = "2027-01-15T09:00:00.000001Z"
    for method, path, body in (
        ("POST", "", {"expires_at": later}),
        ("PATCH", f"/{sooner}", {"expires_at": later}),
        ("PATCH", f"/{sooner}", {"expires_at": None}),
        ("PATCH", f"/{brief.key_id}", {"expires_at": None}),
    ):
        refused = await brief.ask(method, path, body)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "expires_at"), body
        assert HOUR_LATER in refused.json()["detail"]
    assert (await brief.ask("PATCH", f"/{lasting}", {"scopes": ["log", "admin"]})).status_code == 403
    assert (await brief.ask("POST", f"/{lasting}/rotate", {})).status_code == 403
    # What ends no later than it does is as ever, and so is what gives nothing.
    assert (await brief.ask("PATCH", f"/{sooner}", {"expires_at": HOUR_LATER})).status_code == 200
    shorter = await brief.ask("PATCH", f"/{lasting}", {"name": "x", "expires_at": "2027-01-15T10:00:00Z"})
    assert shorter.status_code == 200
    assert (await brief.ask("POST", f"/{brief.key_id}/rotate", {})).json()["key"]["expires_at"] == HOUR_LATER
    auth.clock.at += timedelta(hours=1)
    assert await nora.names() == ["x", None]


async def test_an_operators_key_makes_operators_keys(auth: Auth) -> None:
    key = await ensure_operator(auth.database, auth.clock)
    assert key is not None
    found = await auth.verify(key)
    assert found is not None
    owner = Owner(auth, str(found.account_id), key, str(found.key_id), found.scopes)
    made = await owner.make(scopes=["operator"], name="deploy")
    found = await auth.verify(made["api_key"])
    assert found is not None
    assert found.scopes == ("operator",)


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"scopes": []}, ["scopes"]),
    ({"scopes": ["gateway"]}, ["scopes"]),
    ({"scopes": "log"}, ["scopes"]),
    ({"scopes": [1], "name": 7}, ["name", "scopes"]),
    ({"name": "x" * 256}, ["name"]),
    ({"name": "a\0b"}, ["name"]),
    ({"name": "my llmr_pk_0123456789abcdef"}, ["name"]),
    ({"expires_at": "2027-01-15T08:00:00Z"}, ["expires_at"]),
    ({"expires_at": "2027-02-30T08:00:00Z"}, ["expires_at"]),
    ({"expires_at": "2027-01-15T09:00:00"}, ["expires_at"]),
    ({"expires_at": "9999-12-31T23:59:59-12:00"}, ["expires_at"]),
    ({"expires_at": 1800000000, "name": "a\0"}, ["name", "expires_at"]),
    ({"scopes": ["nope"], "expires_at": "bad"}, ["scopes", "expires_at"]),
    ({"scopes": [], "expires_at": "2027-01-15T08:00:00Z", "name": 1}, ["name", "scopes", "expires_at"]),
    ({"expires_at": "", "name": "a\0"}, ["name", "expires_at"]),
]


async def test_what_is_wrong_is_named_and_nothing_is_made_or_changed(auth: Auth, nora: Owner) -> None:
    key_id = (await nora.make(name="it"))["key"]["id"]
    before, events = await nora.ask("GET"), await auth.events()
    for method, path in (("POST", ""), ("PATCH", f"/{key_id}")):
        for body, named in BAD:
            answer = await nora.ask(method, path, body)
            assert answer.status_code == 422, (method, body)
            assert [e["field"] for e in answer.json()["errors"]] == named, (method, body)
        assert (await nora.ask(method, path, [])).status_code == 422
    for grace in (-1, 2_592_001, 1.5, "60", None, True):
        answer = await nora.ask("POST", f"/{key_id}/rotate", {"grace_seconds": grace})
        assert [e["field"] for e in answer.json()["errors"]] == ["grace_seconds"]
    for query in ({"limit": 0}, {"limit": 501}, {"cursor": "x"}, {"with_ended": "perhaps"}):
        assert (await nora.ask("GET", **query)).status_code == 422
    assert (await nora.ask("GET")).json() == before.json()
    assert await auth.events() == events


async def test_a_change_is_in_force_announced_and_written_down(auth: Auth, nora: Owner) -> None:
    made = await nora.make(name="old", expires_at=HOUR_LATER)
    key_id = made["key"]["id"]
    count = len(await auth.events())
    changed = await nora.ask("PATCH", f"/{key_id}", {"name": None, "scopes": ["log"], "expires_at": None})
    assert changed.status_code == 200
    wanted = {**made["key"], "name": None, "scopes": ["log"], "expires_at": None}
    assert changed.json() == wanted
    found = await auth.verify(made["api_key"])
    assert found is not None
    assert (found.scopes, found.expires_at) == (("log",), None)
    events = await auth.events()
    assert [str(k) for k in events[-1].key_ids] == [key_id]
    entry = (await entries(auth, auth.token_of(nora.account_id, "admin")))[0]
    assert (entry["action"], entry["target_id"]) == ("key.changed", key_id)
    assert entry["actor"]["key_id"] == nora.key_id
    assert entry["before"] == {"name": "old", "scopes": ["log", "read"], "expires_at": HOUR_LATER}
    assert entry["after"] == {"name": None, "scopes": ["log"], "expires_at": None}
    # A change of nothing is none.
    wanted["last_used_at"] = "2027-01-15T08:00:00Z"
    assert (await nora.ask("PATCH", f"/{key_id}", {})).json() == wanted
    assert (await nora.ask("PATCH", f"/{key_id}", {"scopes": ["log"]})).json() == wanted
    assert len(await auth.events()) == len(events) == count + 1


@pytest.mark.parametrize(
    ("ends", "grace", "old_ends"),
    [
        (HOUR_LATER, 86_400, HOUR_LATER),  # P12: the old key does not live longer than it had
        (HOUR_LATER, 60, "2027-01-15T08:01:00Z"),
        (None, 86_400, "2027-01-16T08:00:00Z"),
        (None, None, "2027-01-16T08:00:00Z"),
        (HOUR_LATER, 0, HOUR_LATER),
    ],
)
async def test_a_rotated_key_goes_on_for_the_grace_and_never_beyond_its_end(
    auth: Auth, nora: Owner, ends: str | None, grace: int | None, old_ends: str
) -> None:
    """Case P12."""
    old = await nora.make(name="ci", scopes=ALL, expires_at=ends)
    body = None if grace is None else {"grace_seconds": grace}
    answer = await nora.ask("POST", f"/{old['key']['id']}/rotate", body)
    assert answer.status_code == 201, answer.text
    new = answer.json()
    assert new["api_key"] != old["api_key"]
    assert {k: new["key"][k] for k in ("name", "scopes", "expires_at")} == {
        "name": "ci",
        "scopes": ALL,
        "expires_at": ends,
    }
    assert new["replaces"]["id"] == old["key"]["id"]
    assert new["replaces"]["expires_at"] == (old_ends if grace != 0 else ends)
    assert (new["replaces"]["revoked_at"] is not None) == (grace == 0)
    assert {str(k) for k in (await auth.events())[-1].key_ids} == {new["key"]["id"], old["key"]["id"]}
    assert await auth.verify(new["api_key"]) is not None
    assert (await auth.verify(old["api_key"]) is None) == (grace == 0)
    if grace != 0:
        auth.clock.at = T0 + timedelta(seconds=59)
        assert await auth.verify(old["api_key"]) is not None
    auth.clock.at = max(T0, (T0.fromisoformat(old_ends)))
    assert await auth.verify(old["api_key"]) is None
    assert (await auth.verify(new["api_key"]) is None) == (ends == old_ends)
    actions = [e["action"] for e in await entries(auth, auth.token_of(nora.account_id, "admin"))]
    assert {actions[0], actions[1]} == {"key.rotated", "key.created"}


async def test_a_revoked_key_is_gone_for_good(auth: Auth, nora: Owner) -> None:
    made = await nora.make(name="leaked")
    path = f"/{made['key']['id']}"
    answer = await nora.ask("DELETE", path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await auth.verify(made["api_key"]) is None
    assert [str(k) for k in (await auth.events())[-1].key_ids] == [made["key"]["id"]]
    for method, under, body in (
        ("DELETE", "", None),
        ("PATCH", "", {"expires_at": None}),
        ("POST", "/rotate", {}),
    ):
        assert (await nora.ask(method, path + under, body)).status_code == 404
    assert await nora.names() == [None]
    assert await nora.names(with_ended=True) == ["leaked", None]
    entry = (await entries(auth, auth.token_of(nora.account_id, "admin")))[0]
    assert (entry["action"], entry["target_id"]) == ("key.revoked", made["key"]["id"])


async def test_an_expired_key_can_be_removed_and_not_revived(auth: Auth, nora: Owner) -> None:
    made = await nora.make(expires_at=HOUR_LATER)
    path = f"/{made['key']['id']}"
    auth.clock.at += timedelta(hours=1)
    assert (await nora.ask("PATCH", path, {"expires_at": None})).status_code == 409
    assert (await nora.ask("POST", f"{path}/rotate", {})).status_code == 409
    assert (await nora.ask("DELETE", path)).status_code == 204
    assert await auth.verify(made["api_key"]) is None


async def test_a_key_may_give_itself_up_and_nothing_else_without_admin(auth: Auth, nora: Owner) -> None:
    made, other = await nora.make(scopes=["log"]), await nora.make(scopes=["log"])
    holder = Owner(auth, nora.account_id, made["api_key"], made["key"]["id"], ("log",))
    for method, path, body in (
        ("GET", "", None),
        ("POST", "", {}),
        ("PATCH", f"/{holder.key_id}", {"name": "x"}),
        ("POST", f"/{holder.key_id}/rotate", {}),
        ("DELETE", f"/{other['key']['id']}", None),
    ):
        assert (await holder.ask(method, path, body)).status_code == 403, (method, path)
        assert (await auth.http.request(method, f"/api/v1/keys{path}")).status_code == 401
    assert (await holder.ask("DELETE", f"/{holder.key_id}")).status_code == 204
    assert await auth.verify(made["api_key"]) is None


async def test_somebody_elses_key_answers_as_one_that_never_was(auth: Auth, nora: Owner) -> None:
    """Case P40."""
    pia = await open_owner(auth, "pia@example.test")
    key_id = (await nora.make())["key"]["id"]
    for method, under, body in (
        ("PATCH", "", {"name": "mine"}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
    ):
        foreign = await pia.ask(method, f"/{key_id}{under}", body)
        unknown = str(uuid7())
        nobody = await pia.ask(method, f"/{unknown}{under}", body)
        assert foreign.status_code == nobody.status_code == 404
        assert foreign.text.replace(key_id, "x") == nobody.text.replace(unknown, "x")
    assert len((await pia.ask("GET", cursor=key_id)).json()["keys"]) <= 1
    assert len(await nora.names()) == 2
    assert await pia.names() == [None]


async def test_an_operator_sees_and_revokes_keys_of_any_account(auth: Auth, nora: Owner) -> None:
    made = await nora.make(name="leaked")
    keys = f"/{nora.account_id}/keys"
    listed = (await auth.get_admin(keys)).json()
    assert [(k["name"], k["current"]) for k in listed["keys"]] == [("leaked", False), (None, False)]
    path = f"/api/v1/admin/accounts{keys}/{made['key']['id']}"
    customer = auth.token_of(nora.account_id, *ALL)
    assert (await auth.http.delete(path, headers=customer)).status_code == 403
    assert (await auth.http.delete(path, headers=await auth.operator())).status_code == 204
    assert (await auth.http.delete(path, headers=await auth.operator())).status_code == 404
    assert (await auth.get_admin(f"/{uuid7()}/keys")).status_code == 404
    assert await auth.verify(made["api_key"]) is None
    entry = (await entries(auth, customer))[0]
    assert (entry["action"], entry["actor"]["kind"]) == ("key.revoked", "operator")


async def test_pages_of_keys_miss_none(nora: Owner) -> None:
    for number in range(4):
        await nora.make(name=f"k{number}")
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await nora.ask("GET", limit=2, **cursor)).json()
        seen += [key["name"] for key in page["keys"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == ["k3", "k2", "k1", "k0", None]


async def test_an_account_has_no_more_keys_than_it_may_whoever_asks_at_once(auth: Auth, nora: Owner) -> None:
    most = AuthSettings().keys_per_account
    answers = await asyncio.gather(*(nora.ask("POST", body={}) for _ in range(most + 4)))
    made = [a.json() for a in answers if a.status_code == 201]
    assert len(made) == most - 1
    assert {a.status_code for a in answers} == {201, 409}
    path = f"/{made[0]['key']['id']}"
    assert (await nora.ask("POST", f"{path}/rotate", {"grace_seconds": 60})).status_code == 409
    assert await auth.verify(made[0]["api_key"]) is not None
    assert (await nora.ask("POST", f"{path}/rotate", {"grace_seconds": 0})).status_code == 201
    assert (await nora.ask("DELETE", f"/{made[1]['key']['id']}")).status_code == 204
    await nora.make()


async def test_of_simultaneous_rotations_and_revocations_none_brings_a_key_back(
    auth: Auth, nora: Owner
) -> None:
    made = await nora.make()
    path = f"/{made['key']['id']}"
    answers = await asyncio.gather(
        nora.ask("DELETE", path),
        *(nora.ask("POST", f"{path}/rotate", {}) for _ in range(3)),
        nora.ask("PATCH", path, {"expires_at": None}),
        nora.ask("DELETE", path),
    )
    assert sorted(a.status_code for a in answers if a.request.method == "DELETE") == [204, 404]
    assert {a.status_code for a in answers} <= {200, 201, 204, 404}
    assert await auth.verify(made["api_key"]) is None


async def test_a_revocation_holds_although_the_event_log_is_away(auth: Auth, nora: Owner) -> None:
    made = await nora.make()
    auth.log.failure = UnavailableError("away")
    assert (await nora.ask("DELETE", f"/{made['key']['id']}")).status_code == 204
    assert await auth.verify(made["api_key"]) is None
    assert await auth.count("outbox") == 1


async def test_what_ended_long_ago_is_deleted_and_the_audit_log_stays(auth: Auth, nora: Owner) -> None:
    soon = await nora.make(name="expires", expires_at=HOUR_LATER)
    gone = await nora.make(name="revoked")
    assert (await nora.ask("DELETE", f"/{gone['key']['id']}")).status_code == 204
    lasting = await nora.make(name="lasts", expires_at="2099-01-01T00:00:00Z")
    for _ in range(6):  # of the keys of logins the sixth revokes the first
        auth.clock.at += timedelta(seconds=61)
        await auth.open_session()
    told = len(await entries(auth, auth.token_of(nora.account_id, "admin"), limit=500))
    forgetting = Forgetting(auth.database, auth.clock, timedelta(hours=24))
    assert await forgetting.forget() == 0
    assert (await auth.count("api_keys"), await auth.count("sessions")) == (10, 6)
    auth.clock.at = T0 + timedelta(days=90, seconds=1)
    assert await forgetting.forget() == 1  # revoked at the beginning
    assert await auth.count("sessions") == 0
    auth.clock.at += timedelta(hours=1)
    assert await forgetting.forget() == 2
    assert await auth.verify(lasting["api_key"]) is not None
    assert await auth.verify(nora.key) is not None
    assert await auth.verify(soon["api_key"]) is None
    async with auth.database.connection() as connection:  # what a stranger may have made is known by his keys
        await connection.execute("UPDATE auth.api_keys SET unproven = true, revoked_at = created_at")
    assert await forgetting.forget() == 0
    names = [name for name in await nora.names(with_ended=True) if name is not None]
    assert names == [*["login"] * 5, "lasts"]
    assert len(await entries(auth, auth.token_of(nora.account_id, "admin"), limit=500)) == told
