"""Tell other services which keys are an account's own."""

from collections.abc import Sequence
from uuid import UUID

from services.auth.store.api_keys import list_owned
from shared.postgres import Database


class OwnKeys:
    """Reads them. One that has ended stays its account's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, account_id: UUID, key_ids: Sequence[UUID]) -> list[UUID]:
        """Those of some ids that are keys of the account.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            return await list_owned(connection, account_id, key_ids)
