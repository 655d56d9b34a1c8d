"""Opening an account: once per address, with whatever input."""

import asyncio
import json
import logging
import re
from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher

from tests.auth.conftest import PASSWORD, T0, Auth

FREE = {"name": "free", "logs_per_month": 10_000, "retention_days": 30, "requests_per_minute": 60}


async def test_a_new_account_is_on_the_free_tier_and_its_key_works(auth: Auth) -> None:
    answer = await auth.register("Nora@Example.test", organization=" Nora's ", colour="ignored")
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert list(body) == ["api_key", "account_id", "email", "organization", "tier"]
    assert re.fullmatch(r"llmr_pk_[0-9a-f]{48}", body["api_key"])
    assert (body["email"], body["organization"], body["tier"]) == ("Nora@example.test", "Nora's", FREE)
    assert UUID(body["account_id"]).version == 7
    found = await auth.verify(body["api_key"])
    assert found is not None
    assert (str(found.account_id), found.scopes) == (body["account_id"], ("log", "read", "admin"))
    assert (found.tier, found.requests_per_minute, found.logs_per_month) == ("free", 60, 10_000)
    assert found.expires_at is None


@pytest.mark.parametrize("again", ["nora@example.test", "NORA@EXAMPLE.TEST", " nora@example.test"])
async def test_a_known_address_is_a_conflict(auth: Auth, again: str) -> None:
    await auth.open_account("nora@example.test")
    answer = await auth.register(again)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "This email address already has an account."
    assert await auth.count("accounts") == await auth.count("api_keys") == 1


async def test_of_simultaneous_registrations_of_one_address_one_wins(auth: Auth) -> None:
    spellings = ["nora@example.test", "NORA@example.test", "Nora@EXAMPLE.test", "nora@example.test "] * 5
    answers = await asyncio.gather(*(auth.register(email) for email in spellings))
    assert sorted(a.status_code for a in answers) == [201] + [409] * 19
    assert await auth.count("accounts") == await auth.count("api_keys") == 1


async def test_only_hashes_are_stored_and_nothing_secret_is_logged(
    auth: Auth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = await auth.open_account()
    await auth.verify(body["api_key"])
    async with auth.database.connection() as connection:
        stored = str(await connection.fetch("SELECT a::text, k::text FROM auth.accounts a, auth.api_keys k"))
        password_hash = await connection.fetchval("SELECT password_hash FROM auth.accounts")
    events = str(await auth.events())
    for secret in (body["api_key"], body["api_key"][20:], PASSWORD):
        assert secret not in stored + events + caplog.text
    assert password_hash.startswith("$argon2id$")
    assert PasswordHasher().verify(password_hash, PASSWORD)


@pytest.mark.parametrize(
    "email",
    [
        "用户@例子.广告",
        "josé@example.test",
        "nora@exämple.test",
        "\u0131rmak@example.test",
        "a+b@example.test",
    ],
)
async def test_addresses_of_every_language_are_welcome(auth: Auth, email: str) -> None:
    assert (await auth.register(email)).json()["email"] == email


async def test_a_look_alike_address_does_not_reach_another_account(auth: Auth) -> None:
    for email in ("kelvin@example.test", "nora@example.test"):
        await auth.open_account(email)
    for email in (
        "\u212aelvin@example.test",
        "nora\uff20example.test",
        "\uff4eora@example.test",
        "nora@\uff45xample.test",
        "nora@example\u3002test",
        "nora\u200b@example.test",
    ):
        answer = await auth.register(email)
        assert answer.status_code == 422, email
        assert [e["field"] for e in answer.json()["errors"]] == ["email"]
    assert await auth.count("accounts") == 2


async def test_the_operators_address_is_nobodys(auth: Auth) -> None:
    assert (await auth.register("operator@localhost")).status_code == 422


@pytest.mark.parametrize(
    ("password", "status"),
    [
        ("a" * 72 + "b", 201),
        ("\U0001f600" * 25 + "!", 201),
        ("e\u0301" * 9 + "e", 201),
        ("a" * 1023 + "b", 201),
        (" " * 9 + "a", 201),
        ("a" * 10, 422),
        (" " * 10, 422),
        ("a" * 1025, 422),
        ("é" * 513, 422),
        ("a" * 9, 422),
        ("", 422),
        ("correct\0horse battery", 422),
        ("a" * 60_000, 422),
        ("a" * 1_000_000, 413),
    ],
    ids=lambda value: ascii(value)[:20],
)
async def test_the_lengths_of_passwords(auth: Auth, password: str, status: int) -> None:
    answer = await auth.register("nora@example.test", password=password)
    assert answer.status_code == status
    if status == 422:
        assert [e["field"] for e in answer.json()["errors"]] == ["password"]
        assert not password or password not in answer.text
    if "1025" in str(len(password)):
        assert "1024 bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("nora@example.test", "nora@example.test"),
        ("Nora@Example.test", "nORA@eXAMPLE.TEST"),
        ("nora.lindqvist@example.test", "Nora.Lindqvist"),
        ("jose\u0301.lindqvist@example.test", "Jos\u00c9.lindqvist"),
        ("nora@ex\u00e4mple.test", "nora@exa\u0308mple.test"),
    ],
)
async def test_the_own_address_is_no_password(auth: Auth, email: str, password: str) -> None:
    answer = await auth.register(email, password=password)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == ["password"]
    assert (await auth.register(email, password=f"{password} and more")).status_code == 201
    link = await auth.get_reset_token(email)
    answer = await auth.confirm_reset(link, password)
    assert [e["field"] for e in answer.json()["errors"]] == ["new_password"]
    assert (await auth.confirm_reset(link, f"{password} no more")).status_code == 200  # it was not used up


async def test_composed_and_decomposed_letters_are_one_password(auth: Auth) -> None:
    await auth.register("nora@example.test", password="cafe\u0301-terrace")
    async with auth.database.connection() as connection:
        password_hash = await connection.fetchval("SELECT password_hash FROM auth.accounts")
    assert PasswordHasher().verify(password_hash, "café-terrace")


async def test_all_faults_are_named_at_once(auth: Auth) -> None:
    answer = await auth.register("nora", password="short", organization="a\0b")
    assert answer.status_code == 422
    problem = answer.json()
    assert [e["field"] for e in problem["errors"]] == ["email", "password", "organization"]
    assert all(e["message"].endswith(".") for e in problem["errors"])
    assert await auth.count("accounts") == 0


GOOD = {"email": "nora@example.test", "password": PASSWORD}


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("register", {"email": "bad", "password": 1}, ["email", "password"]),
        ("register", {**GOOD, "email": "bad", "organization": "x" * 256}, ["email", "organization"]),
        ("register", {"password": "x"}, ["email", "password"]),
        ("register", {"email": 1, "password": PASSWORD, "organization": "a\0"}, ["email", "organization"]),
        ("cli/register", {"email": "bad", "project_name": 1}, ["email", "project_name"]),
        (
            "cli/register",
            {"email": [], "organization": "a\0", "project_name": "llmr_pk_" + "0" * 9, "accept_terms": False},
            ["email", "organization", "project_name", "accept_terms"],
        ),
        ("cli/register", {"email": "nora@example.test", "accept_terms": 1}, ["accept_terms"]),
        ("password-reset/confirm", {"token": 1, "new_password": "short"}, ["token", "new_password"]),
        ("password-reset/confirm", {"new_password": "short"}, ["token", "new_password"]),
    ],
)  # fmt: skip
async def test_fields_of_a_wrong_type_hide_no_others_that_are_wrong(
    auth: Auth, path: str, body: dict[str, Any], named: list[str]
) -> None:
    answer = await auth.http.post(f"/api/v1/{path}", json=body)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == named
    assert all(e["message"].endswith(".") for e in answer.json()["errors"])
    assert await auth.count("accounts") == 0


BAD_FIELDS: dict[str, list[Any]] = {
    "email": [None, 7, True, [], {}, "", "x", "a\0@example.test", "x" * 50_000],
    "password": [None, 7, True, [], {}, ""],
    "organization": [7, True, [], {}, "x" * 256, "a\0b"],
}
BAD_BODIES: list[tuple[bytes, int, str]] = [
    (b"", 422, "body"),
    (b"{", 400, ""),
    (b"\xff\xfe", 400, ""),
    (b"null", 422, "body"),
    (b"[]", 422, "body"),
    (b'"x"', 422, "body"),
    (b"{}", 422, "email"),
    (b'{"email":1,"email":"nora@example.test","password":"correct horse battery"}', 422, "body"),
    (b'{"email":1, garbage', 400, ""),
    (b'{"x":' + b"[" * 60_000, 400, ""),
    (b'{"email":1e999,"password":"correct horse battery"}', 422, "email"),
    (b"[" * 60_000, 422, "body"),
    (b'{"email":"nora@example.test"}', 422, "password"),
    (b'{"password":"correct horse battery"}', 422, "email"),
    (b'{"email":"nora@example.test","password":"\\ud83d-lone-surrogate"}', 400, ""),
    (b'{"email":"\xff@example.test","password":"correct horse battery"}', 400, ""),
    (b'{"email":"nora@example.test","password":"correct horse battery","x":"\xff"}', 400, ""),
    (b'{"email":"nora@example.test","password":"correct horse battery","\xff":1}', 400, ""),
    (b'{"email":"nora@example.test","password":"correct horse battery","x":["\xed\xa0\x80"]}', 400, ""),
    (b'{"email":1,"password":"correct horse battery","x":"\xc3"}', 400, ""),
    *(
        (json.dumps({**GOOD, field: value}).encode(), 422, field)
        for field, values in BAD_FIELDS.items()
        for value in values
    ),
]


async def test_bad_input_is_the_callers_fault_and_named(auth: Auth) -> None:
    for body, status, named in BAD_BODIES:
        answer = await auth.http.post(
            "/api/v1/register", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == status, (body[:80], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["detail"]
        if named:
            assert named in [e["field"] for e in problem["errors"]], body[:80]
            assert all(e["message"].endswith(".") for e in problem["errors"])
    assert await auth.count("accounts") == 0


@pytest.mark.parametrize("organization", ["", "   ", None])
async def test_an_empty_organization_is_none(auth: Auth, organization: str | None) -> None:
    assert (await auth.register("nora@example.test", organization=organization)).json()[
        "organization"
    ] is None


def cli_body(**fields: Any) -> dict[str, Any]:
    return {
        "email": "nora@example.test",
        "organization": None,
        "project_name": None,
        "accept_terms": True,
        **fields,
    }


async def test_the_command_line_gets_a_key_at_once(auth: Auth) -> None:
    answer = await auth.http.post("/api/v1/cli/register", json=cli_body(project_name="Default Project"))
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body == {
        "api_key": body["api_key"],
        "dashboard_url": "https://api.example.test/docs",
        "api_key_active": True,
    }
    assert await auth.verify(body["api_key"]) is not None
    async with auth.database.connection() as connection:
        assert await connection.fetchval("SELECT name FROM auth.api_keys") == "Default Project"
        row = await connection.fetchrow("SELECT password_hash, created_at FROM auth.accounts")
    assert row is not None
    assert tuple(row.values()) == (None, T0)


async def test_the_command_line_is_told_of_a_known_address(auth: Auth) -> None:
    await auth.open_account("nora@example.test")
    answer = await auth.http.post("/api/v1/cli/register", json=cli_body())
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"accept_terms": False}, "accept_terms"),
        ({"accept_terms": None}, "accept_terms"),
        ({"accept_terms": "yes"}, "accept_terms"),
        ({"accept_terms": 1}, "accept_terms"),
        ({"project_name": "x" * 256}, "project_name"),
        ({"project_name": "a\0b"}, "project_name"),
        ({"project_name": "my llmr_pk_0123456789abcdef"}, "project_name"),
        ({"organization": "a\0b"}, "organization"),
        ({"email": "nora"}, "email"),
        ({"email": None}, "email"),
    ],
)
async def test_the_command_line_is_told_what_is_wrong(auth: Auth, fields: dict[str, Any], named: str) -> None:
    answer = await auth.http.post("/api/v1/cli/register", json=cli_body(**fields))
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [named]
    assert await auth.count("accounts") == 0


async def test_the_terms_must_be_accepted_in_so_many_words(auth: Auth) -> None:
    body = cli_body()
    del body["accept_terms"]
    assert (await auth.http.post("/api/v1/cli/register", json=body)).status_code == 422


@pytest.mark.parametrize("path", ["/api/v1/register", "/api/v1/register/"])
async def test_a_trailing_slash_changes_nothing(auth: Auth, path: str) -> None:
    assert (await auth.http.post(path, json=GOOD)).status_code == 201
    assert (await auth.http.get(path)).status_code == 405
