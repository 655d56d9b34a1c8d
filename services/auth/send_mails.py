"""Send the mails that were asked for, beside the requests that asked.

A request writes down an address and is answered, so that nobody learns from its answer, or from the time it
took, whether the address has an account. Whether it has is looked up here. A link's token is drawn as its
mail is written, and is in that mail alone: the database has its SHA-256.

A mail that only tells something, such as that a webhook was disabled, goes the same way without a link.

A mail that cannot be sent is tried again for a day, after half a minute at first and an hour at last, each
time with a new link. One whose sender dies in between is sent again, and its latest link is the good one.
"""

import asyncio
import hashlib
import itertools
import logging
import secrets
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Final

from services.auth.mail.carriers import Carrier, RefusedError
from services.auth.mail.letters import Letters
from services.auth.store import mails as store
from services.auth.store.accounts import find_account_by_email
from services.auth.store.mails import Mail
from services.auth.store.password_links import replace_link
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.postgres import Database
from shared.stopping import is_set_within
from shared.telemetry.metrics import MAILS

LINK_LIFETIME: Final = timedelta(minutes=30)
MAILS_PER_HOUR: Final = 10
"""To one address, whoever asks for them. What is asked for beyond is dropped, but for the news that the
password was changed: nobody must be able to keep that from its owner. It takes a link that was sent."""

GIVE_UP_AFTER: Final = timedelta(days=1)
LOOK_EVERY: Final = timedelta(seconds=1)
_AT_ONCE: Final = 8
_FORGET_AFTER: Final = timedelta(days=1)

_log = logging.getLogger(__name__)


class MailSender:
    """Sends what is due."""

    def __init__(self, database: Database, carrier: Carrier, letters: Letters, clock: Clock) -> None:
        self._database = database
        self._carrier = carrier
        self._letters = letters
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Send, again and again, until `stop` is set."""
        is_reported = False
        while not stop.is_set():
            try:
                while await self.send_due() and not stop.is_set():
                    pass
                is_reported = False
            except UnavailableError as error:
                if not is_reported:
                    _log.warning("mails cannot be looked for at the moment: %s", error)
                is_reported = True
            await is_set_within(stop, LOOK_EVERY.total_seconds())

    async def send_due(self) -> int:
        """Try to send what is due, some mails at a time; tells how many were tried.

        Raises:
            UnavailableError: the database is away.
        """
        now = self._clock.now()
        async with self._database.transaction() as connection:
            claimed = await store.claim_mails(connection, at=now, limit=_AT_ONCE)
            await store.delete_sent_mails(connection, now - _FORGET_AFTER)
        # Those to one address one after the other: the last link that was drawn must be in the last mail.
        by_address = sorted(claimed, key=lambda mail: (mail.email_key, mail.mail_id))
        groups = [list(group) for _, group in itertools.groupby(by_address, key=lambda mail: mail.email_key)]
        await asyncio.gather(*(self._send_in_order(group, now) for group in groups))
        return len(claimed)

    async def _send_in_order(self, mails: list[Mail], now: datetime) -> None:
        for mail in mails:
            try:
                outcome = await self._send(mail, now)
                MAILS.labels(mail.kind, outcome).inc()
            except UnavailableError as error:
                MAILS.labels(mail.kind, "failed").inc()
                _log.warning("mail %s was not sent at attempt %d: %s", mail.mail_id, mail.attempts, error)
            except Exception:
                # One that nobody thought of must not stand in the way of the others.
                MAILS.labels(mail.kind, "failed").inc()
                _log.exception("mail %s could not be sent at attempt %d", mail.mail_id, mail.attempts)

    async def _send(self, mail: Mail, now: datetime) -> str:
        token = secrets.token_urlsafe(32)
        async with self._database.transaction() as connection:
            account = await find_account_by_email(connection, mail.email_key)
            sent = await store.count_sent_mails(connection, mail.email_key, now - timedelta(hours=1))
            is_over = sent >= MAILS_PER_HOUR and mail.kind != "password_changed"
            if account is None or account.suspended_at or is_over:
                await store.delete_mail(connection, mail.mail_id)
                return "dropped"
            if now - mail.requested_at >= GIVE_UP_AFTER:
                await store.delete_mail(connection, mail.mail_id)
                _log.error("mail %s is given up after %d attempts", mail.mail_id, mail.attempts)
                return "given_up"
            if mail.facts is None:
                await replace_link(
                    connection,
                    account.account_id,
                    token_sha256=hashlib.sha256(token.encode()).digest(),
                    expires_at=now + LINK_LIFETIME,
                )
        try:
            address = _deliverable(account.email, mail.email_key)
            await self._carrier.carry(self._write(mail, address, token))
        except RefusedError as error:
            async with self._database.connection() as connection:
                await store.delete_mail(connection, mail.mail_id)
            _log.error("mail %s to account %s is refused: %s", mail.mail_id, account.account_id, error)
            return "refused"
        async with self._database.connection() as connection:
            await store.mark_mail_sent(connection, mail.mail_id, now)
        return "sent"

    def _write(self, mail: Mail, address: str, token: str) -> EmailMessage:
        match mail.kind:
            case "password_reset" | "set_password":
                minutes = int(LINK_LIFETIME.total_seconds() // 60)
                return self._letters.write(mail.kind, address, token, minutes)
            case _:
                return self._letters.write_notice(mail.kind, address, mail.facts or {})


def _deliverable(address: str, email_key: str) -> str:
    """The address with its domain in ASCII, which every mail server can write."""
    return f"{address.rpartition('@')[0]}@{email_key.rpartition('@')[2]}"
