"""The first start: one operator, whose key is in somebody's hands whatever breaks in between."""

import asyncio
import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.auth import issue_key, operator
from services.auth.api_keys import new_api_key
from services.auth.key_file import KeyFile
from services.auth.operator import create_operator_key, ensure_operator
from shared.postgres import Database, open_database
from tests.auth.conftest import Auth

ALL_SCOPES = ("log", "read", "admin", "operator")


async def test_the_first_start_makes_an_operator_and_the_second_none(auth: Auth, tmp_path: Path) -> None:
    path = tmp_path / "data" / "operator.key"
    key = await ensure_operator(auth.database, auth.clock, path)
    assert key is not None
    assert path.read_text() == key + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = await auth.verify(key)
    assert found is not None
    assert found.scopes == ALL_SCOPES
    assert (found.tier, found.requests_per_minute, found.logs_per_month) == ("team", None, None)
    assert await ensure_operator(auth.database, auth.clock, path) is None
    assert path.read_text() == key + "\n"
    assert await auth.count("api_keys") == 1


async def test_an_operator_who_moved_the_file_away_gets_no_second_key(auth: Auth, tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    await ensure_operator(auth.database, auth.clock, path)
    path.unlink()
    assert await ensure_operator(auth.database, auth.clock, path) is None
    assert not path.exists()


async def test_without_a_file_the_key_is_returned_all_the_same(auth: Auth) -> None:
    key = await ensure_operator(auth.database, auth.clock)
    assert key is not None
    assert await auth.verify(key) is not None
    assert await ensure_operator(auth.database, auth.clock) is None


@pytest.mark.parametrize("shared_folder", [True, False])
async def test_of_processes_that_start_at_once_one_makes_the_operator(
    auth: Auth, tmp_path: Path, *, shared_folder: bool
) -> None:
    databases = [await open_database(auth.database.url, application_name=f"start-{i}") for i in range(8)]
    paths = [tmp_path / ("all" if shared_folder else f"p{i}") / "operator.key" for i in range(8)]
    keys = await asyncio.gather(
        *(ensure_operator(db, auth.clock, path) for db, path in zip(databases, paths, strict=True))
    )
    for database in databases:
        await database.close()
    (key,) = [key for key in keys if key is not None]
    assert {path.read_text() for path in paths if path.exists()} == {key + "\n"}
    assert await auth.verify(key) is not None
    assert await auth.count("accounts") == await auth.count("api_keys") == 1


class CrashError(BaseException):
    """What nothing catches: the process is gone."""


STEPS: list[tuple[Any, str]] = [
    (operator, "find_account_by_email"),
    (KeyFile, "read_or_write"),
    (operator, "insert_account"),
    (operator, "record_opening"),
    (issue_key, "insert_api_key"),
    (issue_key, "record_audit"),
    (issue_key, "note_change"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", STEPS, ids=[name for _, name in STEPS])
async def test_a_crash_at_any_step_leaves_nobody_locked_out(
    auth: Auth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], when: str
) -> None:
    owner, name = place
    path = tmp_path / "operator.key"
    step: Callable[..., Any] = getattr(owner, name)

    async def crash(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            await step(*args, **kwargs)
        raise CrashError

    def crash_in_thread(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            step(*args, **kwargs)
        raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, crash_in_thread if owner is KeyFile else crash)
        with pytest.raises(CrashError):
            await ensure_operator(auth.database, auth.clock, path)
    await ensure_operator(auth.database, auth.clock, path)
    found = await auth.verify(path.read_text().strip())
    assert found is not None
    assert found.scopes == ALL_SCOPES
    assert await auth.count("accounts") == await auth.count("api_keys") == 1


async def test_a_crash_right_after_the_commit_leaves_the_key_in_the_file(
    auth: Auth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "operator.key"
    transaction = Database.transaction

    class CrashAfter:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __aenter__(self) -> Any:
            return await self.inner.__aenter__()

        async def __aexit__(self, *exc: Any) -> None:
            await self.inner.__aexit__(*exc)
            raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(Database, "transaction", lambda self: CrashAfter(transaction(self)))
        with pytest.raises(CrashError):
            await ensure_operator(auth.database, auth.clock, path)
    assert await ensure_operator(auth.database, auth.clock, path) is None
    assert await auth.verify(path.read_text().strip()) is not None


async def test_a_file_that_outlived_its_database_keeps_its_key(auth: Auth, tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    kept = new_api_key()
    path.write_text(kept.plain + "\n")
    assert await ensure_operator(auth.database, auth.clock, path) == kept.plain
    assert await auth.verify(kept.plain) is not None


async def test_a_file_with_something_else_stops_the_start(auth: Auth, tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    path.write_text("shopping list\n")
    with pytest.raises(ValueError, match="Move the file away"):
        await ensure_operator(auth.database, auth.clock, path)
    assert path.read_text() == "shopping list\n"
    assert await auth.count("accounts") == 0


@pytest.mark.parametrize("text", ["shopping list\n", "llmr_pk_" + "0" * 48 + "\n"])
async def test_a_file_that_opens_nothing_is_reported_with_the_way_out(
    auth: Auth, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level(logging.WARNING)
    await ensure_operator(auth.database, auth.clock)
    path = tmp_path / "operator.key"
    path.write_text(text)
    assert await ensure_operator(auth.database, auth.clock, path) is None
    assert "keys create --operator" in caplog.text
    assert text.strip() not in caplog.text


async def test_a_lost_key_is_replaced_by_another(auth: Auth) -> None:
    first = await create_operator_key(auth.database, auth.clock, "laptop")
    second = await create_operator_key(auth.database, auth.clock)
    assert first != second
    for key in (first, second):
        found = await auth.verify(key)
        assert found is not None
        assert found.scopes == ALL_SCOPES
        assert found.requests_per_minute is None
    assert await auth.count("accounts") == 1
    assert await ensure_operator(auth.database, auth.clock) is None
