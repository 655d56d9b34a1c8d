"""The operator's account and keys: made at the first start, and made anew for whoever lost the key.

The key's file is written before the database knows the key. So there is no moment in which a crash leaves a
key in the database that nobody holds: a start after a crash finds the file and gives the account that key, or
finds neither and begins again.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final
from uuid import UUID

from services.auth.api_keys import OPERATOR_SCOPES, new_api_key, read_api_key
from services.auth.audit import Actor, local_actor, record_audit, record_opening
from services.auth.issue_key import issue_key
from services.auth.key_file import KeyFile
from services.auth.store.accounts import Account, find_account_by_email, insert_account
from services.auth.store.api_keys import find_live_key
from services.auth.tiers import OwnLimits
from shared.clock import Clock
from shared.ids import uuid7
from shared.postgres import Connection, Database

OPERATOR_EMAIL: Final = "operator@localhost"
"""Never a customer's: an address without a dot in its domain is refused at registration."""

_NO_LIMITS: Final[OwnLimits] = {"requests_per_minute": None, "logs_per_month": None, "retention_days": None}

_log = logging.getLogger(__name__)


async def ensure_operator(database: Database, clock: Clock, key_file: Path | None = None) -> str | None:
    """Make the operator's account and its key of all scopes, unless there is one.

    Safe to call from several processes at once, and again after a crash at any point.

    Args:
        database: with the migrations applied.
        clock: for `created_at`.
        key_file: where the key is kept for the operator, mode 0600. If it is there before the account is, its
            key becomes the account's. Without a file the caller alone has the key, and must not lose it.

    Returns:
        The plain key when this call made the account, else None. A lost key is replaced by
        `create_operator_key`.

    Raises:
        ValueError: the file holds something else than a key.
        OSError: the file cannot be read or written.
        UnavailableError: the database is away.
    """
    file = None if key_file is None else KeyFile(key_file)
    async with database.connection() as connection:
        if await find_account_by_email(connection, OPERATOR_EMAIL):
            await _check_file(connection, clock, file)
            return None
    key, written = new_api_key(), False
    if file is not None:
        key, written = await asyncio.to_thread(file.read_or_write, key)
    async with database.transaction() as connection:
        by = local_actor("first_start")
        made = await _insert_operator(connection, clock, by)
        if made is not None:
            # Published by the service's relay: nobody can have remembered anything of a key that is new.
            await issue_key(
                connection,
                by,
                account_id=made.account_id,
                name="first start",
                scopes=OPERATOR_SCOPES,
                at=clock.now(),
                key=key,
            )
            return key.plain
    # Another process made it meanwhile. A file of ours opens nothing then, unless the two share it.
    async with database.connection() as connection:
        if file is not None and written and not await find_live_key(connection, key.sha256, clock.now()):
            await asyncio.to_thread(file.remove, key)
    return None


async def create_operator_key(database: Database, clock: Clock, name: str | None = None) -> str:
    """Make one more key of all scopes for the operator's account, which is made if need be.

    For whoever can reach the database and has lost the key: keys are stored as hashes and cannot be shown.

    Returns:
        The plain key, which nobody can show again.

    Raises:
        UnavailableError: the database is away.
    """
    by = local_actor("command_line")
    async with database.transaction() as connection:
        account = await _insert_operator(connection, clock, by) or await find_account_by_email(
            connection, OPERATOR_EMAIL
        )
        assert account is not None  # noqa: S101 - an account is never deleted, and one insert conflicts only with a stored one
        issued = await issue_key(
            connection,
            by,
            account_id=account.account_id,
            name=name,
            scopes=OPERATOR_SCOPES,
            at=clock.now(),
        )
    return issued.key.plain


async def note_receipt_read(database: Database, clock: Clock, account_id: UUID, receipt_id: UUID) -> None:
    """Write down that a receipt of an account is shown to whoever runs this process.

    Raises:
        UnavailableError: the database is away.
    """
    async with database.transaction() as connection:
        await record_audit(
            connection,
            local_actor("command_line"),
            "receipt.read",
            account_id=account_id,
            at=clock.now(),
            target_id=receipt_id,
        )


async def _insert_operator(connection: Connection, clock: Clock, by: Actor) -> Account | None:
    account = Account(
        account_id=uuid7(),
        email=OPERATOR_EMAIL,
        organization=None,
        tier="team",
        role="operator",
        own_limits=_NO_LIMITS,
        suspended_at=None,
        created_at=clock.now(),
    )
    if not await insert_account(connection, account, email_key=OPERATOR_EMAIL, password_hash=None):
        return None
    await record_opening(connection, by, account)
    return account


async def _check_file(connection: Connection, clock: Clock, file: KeyFile | None) -> None:
    text = None if file is None else await asyncio.to_thread(file.read)
    if file is None or text is None:
        return
    try:
        live = await find_live_key(connection, read_api_key(text).sha256, clock.now())
    except ValueError:
        live = None
    if live is None:
        _log.warning(
            "the key in %s opens nothing here; `llmring-api keys create --operator` makes one", file.path
        )
