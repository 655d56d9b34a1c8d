"""Tell ingest for how long the records of accounts are kept."""

from collections.abc import Sequence
from uuid import UUID

from services.auth.store.accounts import list_retention
from services.auth.tiers import effective_limits
from shared.contracts.accounts import RetentionRule
from shared.postgres import Database


class RetentionRules:
    """Reads the rules. Of an account that does not exist there is none: then nothing may be deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, account_ids: Sequence[UUID]) -> list[RetentionRule]:
        """The rules of some accounts.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            found = await list_retention(connection, account_ids)
        return [
            RetentionRule(
                account_id=each.account_id,
                days=effective_limits(each.tier, each.own_limits)["retention_days"],
                shortened_at=each.shortened_at,
            )
            for each in found
        ]
