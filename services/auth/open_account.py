"""What every customer's account begins with, whichever way it is opened."""

from datetime import datetime
from typing import NamedTuple

from services.auth.audit import Actor, record_opening
from services.auth.emails import Email
from services.auth.store.accounts import Account, insert_account
from shared.ids import uuid7
from shared.postgres import Connection


class Opened(NamedTuple):
    """A new account, and whoever opened it: all that they do with it at once is written down as theirs."""

    account: Account
    by: Actor


async def open_account(
    connection: Connection,
    email: Email,
    *,
    organization: str | None,
    password_hash: str | None,
    client: str | None,
    at: datetime,
) -> Opened | None:
    """Add an account on the free tier, with its audit entry; None when the address has one already.

    Args:
        connection: in a transaction.
        email: whose account it is.
        organization: as its owner names it.
        password_hash: None for an account without a password.
        client: the address that the request came from.
        at: now.
    """
    account = Account(
        account_id=uuid7(),
        email=email.address,
        organization=organization,
        tier="free",
        role="customer",
        own_limits={},
        suspended_at=None,
        created_at=at,
    )
    if not await insert_account(connection, account, email_key=email.key, password_hash=password_hash):
        return None
    by = Actor("account", account.account_id, client=client)
    await record_opening(connection, by, account)
    return Opened(account, by)
