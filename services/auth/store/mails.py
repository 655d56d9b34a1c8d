"""The table of mails to send, and those of the last day."""

from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from shared.ids import uuid7
from shared.postgres import Connection, Row

LinkKind = Literal["password_reset", "set_password"]
NoticeKind = Literal["webhook_disabled", "password_changed"]
MailKind = LinkKind | NoticeKind


class Mail(NamedTuple):
    """A mail that is to be sent; `attempts` counts the present one.

    Attributes:
        facts: what it tells; None where it has a link.
    """

    mail_id: UUID
    kind: MailKind
    email_key: str
    requested_at: datetime
    attempts: int
    facts: dict[str, str] | None


class Notice(NamedTuple):
    """A mail that tells something, to whoever has the address; `facts` are what its template names."""

    mail_id: UUID
    kind: NoticeKind
    email_key: str
    facts: dict[str, str]
    requested_at: datetime


INSERT_MAIL: Final = """
INSERT INTO auth.mails (mail_id, kind, email_key, requested_at, next_attempt_at) VALUES ($1, $2, $3, $4, $4)
"""


async def insert_mail(connection: Connection, kind: LinkKind, email_key: str, at: datetime) -> None:
    """Add a mail to whoever has this address, if anybody has."""
    await connection.execute(INSERT_MAIL, uuid7(), kind, email_key, at)


INSERT_NOTICE: Final = """
INSERT INTO auth.mails (mail_id, kind, email_key, facts, requested_at, next_attempt_at)
VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (mail_id) DO NOTHING
"""


async def insert_notice(connection: Connection, notice: Notice) -> None:
    """Add a mail that tells something; one of the same id is there once."""
    facts = msgspec.json.encode(notice.facts).decode()
    await connection.execute(
        INSERT_NOTICE, notice.mail_id, notice.kind, notice.email_key, facts, notice.requested_at
    )


# Whoever claims a mail has until the next attempt to send it. If it dies meanwhile, another sends it then.
CLAIM_MAILS: Final = """
UPDATE auth.mails
SET attempts = attempts + 1,
    next_attempt_at = $1 + LEAST(interval '30 seconds' * power(2, attempts), interval '1 hour')
WHERE mail_id IN (
    SELECT mail_id FROM auth.mails WHERE sent_at IS NULL AND next_attempt_at <= $1
    ORDER BY next_attempt_at, mail_id LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING mail_id, kind, email_key, requested_at, attempts, facts
"""


async def claim_mails(connection: Connection, *, at: datetime, limit: int) -> list[Mail]:
    """Mails whose time has come, in the order they were asked for; nobody else gets them for a while."""
    rows = await connection.fetch(CLAIM_MAILS, at, limit)
    return sorted((_read(row) for row in rows), key=lambda mail: (mail.requested_at, mail.mail_id))


def _read(row: Row) -> Mail:
    mail = Mail(*row)
    return mail._replace(facts=None if row["facts"] is None else msgspec.json.decode(row["facts"]))


async def count_sent_mails(connection: Connection, email_key: str, since: datetime) -> int:
    """How many mails were sent to an address from an instant on."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM auth.mails WHERE email_key = $1 AND sent_at >= $2", email_key, since
        )
    )


async def mark_mail_sent(connection: Connection, mail_id: UUID, at: datetime) -> None:
    """Remember that a mail was sent."""
    await connection.execute("UPDATE auth.mails SET sent_at = $2 WHERE mail_id = $1", mail_id, at)


async def delete_mail(connection: Connection, mail_id: UUID) -> None:
    """Take out a mail that will not be sent."""
    await connection.execute("DELETE FROM auth.mails WHERE mail_id = $1", mail_id)


async def delete_sent_mails(connection: Connection, before: datetime) -> None:
    """Forget mails that were sent before an instant."""
    await connection.execute("DELETE FROM auth.mails WHERE sent_at < $1", before)
