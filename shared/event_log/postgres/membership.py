"""Which member of a group reads which partitions: by leases, on the database's clock.

Every member keeps a row alive and reads who else does. The members in order share the partitions in turn,
so all come to the same answer without a leader. For the moments in which they do not (one has just come or
gone), the position fence makes double work harmless.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from shared.ids import uuid7
from shared.postgres import Connection, Database, open_connection

LEASE: Final = timedelta(seconds=6)
"""A member that has died hands its partitions over after this time at the latest."""

RENEWAL: Final = timedelta(seconds=1.5)

UPSERT_MEMBER: Final = """
INSERT INTO event_log.members (consumer_group, topic, member_id, expires_at)
VALUES ($1, $2, $3, clock_timestamp() + $4::interval)
ON CONFLICT (consumer_group, topic, member_id) DO UPDATE SET expires_at = excluded.expires_at
"""

LIST_MEMBERS: Final = """
SELECT member_id FROM event_log.members
 WHERE consumer_group = $1 AND topic = $2 AND expires_at > clock_timestamp()
 ORDER BY member_id
"""

# Those that another member removes at this moment are its business.
DELETE_EXPIRED_MEMBERS: Final = """
DELETE FROM event_log.members
 WHERE member_id IN (
       SELECT member_id FROM event_log.members
        WHERE consumer_group = $1 AND topic = $2 AND expires_at <= clock_timestamp()
          FOR UPDATE SKIP LOCKED)
"""

DELETE_MEMBER: Final = """
DELETE FROM event_log.members WHERE consumer_group = $1 AND topic = $2 AND member_id = $3
"""


class Membership:
    """One member of one group."""

    def __init__(self, database: Database, group: str, topic: str) -> None:
        self._database = database
        self._group = group
        self._topic = topic
        self.member_id = uuid7()

    @property
    def bell(self) -> str:
        """What is rung when somebody comes or goes."""
        return f"{self._group}@{self._topic}"

    async def renew(self) -> list[UUID]:
        """Stay a member, and learn who the members are.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            await upsert_member(connection, self._group, self._topic, self.member_id)
            rows = await connection.fetch(LIST_MEMBERS, self._group, self._topic)
            await connection.execute(DELETE_EXPIRED_MEMBERS, self._group, self._topic)
        return [row["member_id"] for row in rows]

    async def leave(self) -> None:
        """Be no member any more.

        Raises:
            UnavailableError: the database is away; the lease will run out.
        """
        async with self._database.connection() as connection:
            await connection.execute(DELETE_MEMBER, self._group, self._topic, self.member_id)

    def share(self, members: Sequence[UUID], partitions: int) -> list[int]:
        """The partitions that fall to this member."""
        if self.member_id not in members:
            return []
        return list(range(members.index(self.member_id), partitions, len(members)))


async def upsert_member(connection: Connection, group: str, topic: str, member_id: UUID) -> None:
    """Begin or prolong a lease."""
    await connection.execute(UPSERT_MEMBER, group, topic, member_id, LEASE)


DELETE_MEMBERS: Final = "DELETE FROM event_log.members"


async def forget_members(url: str) -> None:
    """Drop every lease, so that nobody waits for those of a process that was killed.

    Only for whoever knows that no other process uses this log, such as the holder of the data directory.

    Raises:
        UnavailableError: the database is away.
    """
    connection = await open_connection(url, application_name="llmring-event-log")
    try:
        await connection.execute(DELETE_MEMBERS)
    finally:
        await connection.close()
