"""What a mail says: a template for each kind, as text and as HTML."""

from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from html import escape
from importlib.resources import files
from string import Template
from typing import Final
from urllib.parse import urlsplit

from services.auth.settings import AuthSettings
from services.auth.store.mails import LinkKind, MailKind, NoticeKind
from shared.clock import Clock

_FOLDER: Final = files("services.auth.mail") / "templates"


class Letters:
    """Writes mails."""

    def __init__(self, settings: AuthSettings, clock: Clock) -> None:
        self._sender = settings.smtp_from or f"no-reply@{urlsplit(settings.public_url).hostname}"
        self._page = settings.public_url.rstrip("/") + "/password-reset"
        self._clock = clock

    def write(self, kind: LinkKind, address: str, token: str, minutes: int) -> EmailMessage:
        """A mail to an address, with the link by which a password is set.

        The token stands in the link's fragment, which browsers send to no server, so that it is in no log.

        Args:
            kind: which one.
            address: of the account.
            token: of the link; it opens the account for as long as the link lives.
            minutes: how long that is.
        """
        link = {"link": f"{self._page}#{token}", "minutes": str(minutes)}
        return self._compose(kind, address, link)

    def write_notice(self, kind: NoticeKind, address: str, facts: Mapping[str, str]) -> EmailMessage:
        """A mail to an address that tells something.

        Args:
            kind: which one.
            address: of the account.
            facts: what its template names.
        """
        return self._compose(kind, address, facts)

    def _compose(self, kind: MailKind, address: str, told: Mapping[str, str]) -> EmailMessage:
        facts = {**told, "email": address, "again": self._page}
        subject, _, text = _read(f"{kind}.txt").substitute(facts).partition("\n")
        message = EmailMessage(SMTP)
        message["From"] = self._sender
        message["To"] = address
        message["Subject"] = subject
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2].rstrip(">"))
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's out-of-office answers it
        # Not broken into short lines, so that whoever looks into the folder of mails can take the link.
        message.set_content(text.lstrip(), cte="7bit" if text.isascii() else "8bit")
        page = _read(f"{kind}.html").substitute({name: escape(value) for name, value in facts.items()})
        message.add_alternative(page, subtype="html")
        return message


def _read(name: str) -> Template:
    return Template((_FOLDER / name).read_text("utf-8"))
