"""How mail leaves: by SMTP, or into a folder where this machine alone is served."""

import asyncio
import logging
import os
import re
import socket
import ssl
from email.message import EmailMessage
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Final, Protocol

import aiosmtplib

from services.auth.settings import AuthSettings
from shared.errors import UnavailableError
from shared.ids import uuid7

SMTP_TIMEOUT_S: Final = 10.0
"""For each step of the conversation with the mail server."""

_DEFAULT_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """The mail will never be delivered, however often it is tried."""


class Carrier(Protocol):
    """Takes mail away."""

    async def carry(self, message: EmailMessage) -> None:
        """Send a mail.

        Raises:
            RefusedError: the address or the mail is refused for good.
            UnavailableError: it did not work this time.
        """
        ...


class SmtpCarrier:
    """Hands mail to a server by SMTP (RFC 5321), with its certificate checked where there is TLS."""

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._tls = None if settings.smtp_security == "none" else ssl.create_default_context()

    @property
    def address(self) -> str:
        """Host and port of the server."""
        settings = self._settings
        return f"{settings.smtp_host}:{settings.smtp_port or _DEFAULT_PORTS[settings.smtp_security]}"

    async def check(self) -> None:
        """Greet the server, secure the connection and log in as for a mail, but send none.

        Raises:
            UnavailableError: what stood in the way.
        """
        try:
            async with self._client() as client:
                await client.ehlo()
        except aiosmtplib.SMTPAuthenticationError as error:
            raise UnavailableError(f"It refuses the login: {_tell(error)}") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise UnavailableError(_tell(error)) from None

    def _client(self) -> aiosmtplib.SMTP:
        """What connects when it is entered."""
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port or _DEFAULT_PORTS[settings.smtp_security],
            local_hostname=socket.gethostname(),
            username=settings.smtp_user or None,
            password=settings.smtp_password or None,
            use_tls=settings.smtp_security == "tls",
            start_tls=settings.smtp_security == "starttls",
            tls_context=self._tls,
            timeout=SMTP_TIMEOUT_S,
        )

    async def carry(self, message: EmailMessage) -> None:
        """See `Carrier`."""
        try:
            async with self._client() as client:
                await client.send_message(message)
        except (aiosmtplib.SMTPException, OSError) as error:
            reason = re.sub(re.escape(str(message["To"])), "the address", _tell(error), flags=re.IGNORECASE)
            if _is_final(error):
                raise RefusedError(reason) from None
            raise UnavailableError(f"The mail server does not take the mail: {reason}") from None


def _tell(error: Exception) -> str:
    """What the server said. It may repeat the address, which no log is to have."""
    return str(error) or "no answer"


def _is_final(error: Exception) -> bool:
    """Whether the server says 5xx of this very mail (RFC 5321, section 4.2.1), or cannot write the address.

    A refused login or sender is the operator's to mend, and is tried again.
    """
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(each.code >= 500 for each in error.recipients)
    if isinstance(error, aiosmtplib.SMTPDataError):
        return error.code >= 500
    return isinstance(error, aiosmtplib.SMTPNotSupported)


class FolderCarrier:
    """Writes mail into a folder, readable by its owner alone, and into the log: there is no mail server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def carry(self, message: EmailMessage) -> None:
        """See `Carrier`."""
        body = message.get_body(("plain",))
        text = "" if body is None else str(body.get_content())
        try:
            path = await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise UnavailableError(f"The mail could not be written: {error}") from error
        _log.info("mail to %s is in %s\n%s", message["To"], path, text)

    def _write(self, message: EmailMessage) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{uuid7()}.eml"
        draft = path.with_suffix(".part")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(message.as_bytes(policy=SMTPUTF8))
        return draft.rename(path)


class NoCarrier:
    """What stands in where no mail server is set: every mail is refused, and that is told."""

    async def carry(self, message: EmailMessage) -> None:  # noqa: ARG002 - every carrier takes the mail
        """See `Carrier`."""
        raise RefusedError("no mail server is set: set LLMRING_SMTP_HOST and LLMRING_SMTP_FROM")


def build_carrier(settings: AuthSettings) -> Carrier:
    """What the settings name: a mail server, else a folder, else nothing."""
    if settings.smtp_host:
        return SmtpCarrier(settings)
    return FolderCarrier(Path(settings.mail_folder)) if settings.mail_folder else NoCarrier()
