"""What an operator does with accounts: find them, set their tier or limits, suspend them."""

from typing import Any
from uuid import UUID

from msgspec import UNSET

from services.auth.announce import KeyChanges, note_change
from services.auth.audit import Actor, record_audit
from services.auth.emails import email_key
from services.auth.messages import AccountChange, AccountPage, AccountView
from services.auth.standing import require_standing
from services.auth.store.accounts import (
    Account,
    find_account_by_email,
    get_account,
    list_accounts,
    lock_account,
    note_shorter_retention,
    update_account,
)
from services.auth.tiers import LIMIT_NAMES, LimitName, describe_limits
from shared.clock import Clock
from shared.contracts.keys import SCOPE_OPERATOR
from shared.errors import ConflictError
from shared.postgres import Database


class AccountAdmin:
    """Reads and changes any account. Who may do so is decided before."""

    def __init__(self, database: Database, changes: KeyChanges, clock: Clock) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    async def find(self, *, email: str | None, limit: int, cursor: UUID | None) -> AccountPage:
        """The account of an address, or all accounts, newest first, `limit` at a time.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            if email is not None:
                if "\0" in email:
                    return _page([], None)
                account = await find_account_by_email(connection, email_key(email))
                return _page([] if account is None else [account], None)
            accounts = await list_accounts(connection, before=cursor, limit=limit + 1)
        more = len(accounts) > limit
        return _page(accounts[:limit], accounts[limit - 1].account_id if more else None)

    async def get(self, account_id: UUID) -> AccountView:
        """One account.

        Raises:
            NotFoundError: there is none.
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            return _view(await get_account(connection, account_id))

    async def change(self, account_id: UUID, change: AccountChange, by: Actor) -> AccountView:
        """Change tier, limits and suspension; in force everywhere as soon as this returns, or shortly after.

        Raises:
            UnauthenticatedError: the operator's key has ended.
            ForbiddenError: it is an operator's no longer.
            NotFoundError: there is no such account.
            ConflictError: it is an operator's account, which has no limits and is never suspended: else an
                operator could lock the deployment's last operator out.
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            account = await lock_account(connection, account_id)
            now = self._clock.now()
            await require_standing(connection, by, SCOPE_OPERATOR, now)
            changed = account._replace(
                tier=account.tier if change.tier is UNSET else change.tier,
                own_limits=_own_limits(account, change),
            )
            if change.suspended is not UNSET:
                changed = changed._replace(
                    suspended_at=(account.suspended_at or now) if change.suspended else None
                )
            if changed == account:
                return _view(account)
            if account.role == "operator":
                raise ConflictError("An operator's account has no limits and cannot be suspended.")
            await update_account(connection, changed)
            before, after = _facts(account), _facts(changed)
            if _is_shorter(after["retention_days"], before["retention_days"]):
                await note_shorter_retention(connection, account_id, now)
            await record_audit(
                connection,
                by,
                "account.changed",
                account_id=account_id,
                at=now,
                before={name: value for name, value in before.items() if value != after[name]},
                after={name: value for name, value in after.items() if value != before[name]},
            )
            suspended = changed.suspended_at is not None
            event = await note_change(connection, account_id, now, suspended=suspended)
        await self._changes.publish(event)
        return _view(changed)


def _page(accounts: list[Account], following: UUID | None) -> AccountPage:
    return AccountPage(accounts=[_view(account) for account in accounts], next=following)


def _view(account: Account) -> AccountView:
    return AccountView(
        account_id=account.account_id,
        email=account.email,
        organization=account.organization,
        role=account.role,
        tier=account.tier,
        **describe_limits(account.tier, account.own_limits),
        suspended=account.suspended_at is not None,
        suspended_at=account.suspended_at,
        created_at=account.created_at,
    )


def _is_shorter(days: int | None, than: int | None) -> bool:
    return days is not None and (than is None or days < than)


def _facts(account: Account) -> dict[str, Any]:
    """What an operator can change, for the audit log; each limit is the one in force."""
    return {
        "tier": account.tier,
        **describe_limits(account.tier, account.own_limits),
        "suspended": account.suspended_at is not None,
    }


def _own_limits(account: Account, change: AccountChange) -> dict[LimitName, int | None]:
    own = dict(account.own_limits) if change.tier is UNSET else {}
    for name in LIMIT_NAMES:
        limit = getattr(change, name)
        if limit is not UNSET:
            own[name] = limit
    return own
