"""Sending mail: to a real SMTP server, again when it fails, once however many senders, and into a folder."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from services.auth.mail.carriers import NoCarrier, SmtpCarrier
from services.auth.mail.letters import Letters
from services.auth.send_mails import MAILS_PER_HOUR, MailSender
from services.auth.settings import AuthSettings
from shared.clock import rfc3339
from shared.errors import UnavailableError
from tests.auth.certificate import make_certificate
from tests.auth.conftest import SETTINGS, Auth, link_token, open_auth, run_once

NEW = "another horse battery"


class Mailbox:
    """A mail server's handler: keeps what it takes, and answers as it is told."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.at_rcpt = ""
        self.at_data = ""
        self.hangs = False

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.hangs:
            await asyncio.sleep(60)
        if self.at_rcpt:
            return self.at_rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.at_data:
            return self.at_data
        self.envelopes.append(envelope)
        assert isinstance(envelope.content, bytes)
        self.mails.append(BytesParser(EmailMessage, policy=SMTPUTF8).parsebytes(envelope.content))
        return "250 OK"


@contextlib.asynccontextmanager
async def open_server(mailbox: Mailbox, **options: Any) -> AsyncIterator[int]:
    tls_from_the_start: ssl.SSLContext | None = options.pop("tls_from_the_start", None)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname="mail.example.test", enable_SMTPUTF8=True, loop=loop, **options),
        "127.0.0.1",
        0,
        ssl=tls_from_the_start,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def settings_of(port: int, **fields: Any) -> AuthSettings:
    return msgspec.structs.replace(
        SETTINGS,
        **{
            "smtp_host": "127.0.0.1",
            "smtp_port": port,
            "smtp_security": "none",
            "smtp_from": "LLMRing <no-reply@example.test>",
            **fields,
        },
    )


def letter(to: str = "nora@example.test") -> EmailMessage:
    return Letters(SETTINGS, _clock()).write("password_reset", to, "t" * 43, 30)


def _clock() -> Any:
    from shared.clock import SystemClock

    return SystemClock()


async def test_a_link_arrives_by_smtp_and_works(postgres_url: str) -> None:
    mailbox = Mailbox()
    async with open_server(mailbox) as port, open_auth(postgres_url, settings=settings_of(port)) as auth:
        await auth.open_account("nora@exämple.test")
        assert (await auth.ask_reset("NORA@exämple.test")).status_code == 202
        assert mailbox.mails == []  # nothing is sent while a request waits
        await auth.send_mails()
        [mail], [envelope] = mailbox.mails, mailbox.envelopes
        assert envelope.mail_from == "no-reply@example.test"
        assert envelope.rcpt_tos == ["nora@xn--exmple-cua.test"]
        assert (mail["From"], mail["Subject"]) == ("LLMRing <no-reply@example.test>", "Set a new password")
        assert mail.get_content_type() == "multipart/alternative"
        assert (await auth.confirm_reset(link_token(mail), NEW)).status_code == 200
        await auth.send_mails()
        await auth.send_mails()
        [_, told] = mailbox.mails
        assert (told["To"], told["Subject"]) == (mail["To"], "Your password was changed")
        for kind in ("plain", "html"):
            body = told.get_body((kind,))
            assert body is not None
            text = body.get_content()
            assert rfc3339(auth.clock.now()) in text
            assert "https://api.example.test/password-reset" in text
            assert "password-reset#" not in text


async def test_an_address_that_needs_it_is_written_in_unicode() -> None:
    mailbox = Mailbox()
    async with open_server(mailbox) as port:
        await SmtpCarrier(settings_of(port)).carry(letter("josé@example.test"))
    assert mailbox.envelopes[0].rcpt_tos == ["josé@example.test"]
    assert mailbox.mails[0]["To"] == "josé@example.test"


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # the server does not see that TLS is there already
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_tls_is_checked_and_a_login_goes_through_it_alone(
    security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    mailbox = Mailbox()

    def authenticate(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        # What is not handled the server refuses itself.
        return AuthResult(success=(data.login, data.password) == (b"llmring", b"secret"), handled=False)

    options: dict[str, Any] = {"authenticator": authenticate, "auth_required": True}
    if security == "tls":
        options |= {"tls_from_the_start": context, "auth_require_tls": False}
    else:
        options |= {"tls_context": context, "require_starttls": True}
    async with open_server(mailbox, **options) as port:
        settings = settings_of(
            port, smtp_host="localhost", smtp_security=security, smtp_user="llmring", smtp_password="secret"
        )
        for without_tls in (SmtpCarrier(settings).carry(letter()), SmtpCarrier(settings).check()):
            with pytest.raises(UnavailableError, match="certificate"):
                await without_tls
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        await SmtpCarrier(settings).check()
        assert mailbox.mails == []
        await SmtpCarrier(settings).carry(letter())
        wrong = SmtpCarrier(msgspec.structs.replace(settings, smtp_password="guessed"))
        for refusal, told in ((wrong.carry(letter()), "does not take"), (wrong.check(), "refuses the login")):
            with pytest.raises(UnavailableError, match=f"{told}.*535") as refused:
                await refusal
            assert "guessed" not in str(refused.value)
    assert len(mailbox.mails) == 1


async def test_a_server_without_tls_gets_nothing_that_was_to_be_secret() -> None:
    mailbox = Mailbox()
    async with open_server(mailbox) as port:
        with pytest.raises(UnavailableError):
            await SmtpCarrier(settings_of(port, smtp_security="starttls")).carry(letter())
        with pytest.raises(UnavailableError, match="STARTTLS"):
            await SmtpCarrier(settings_of(port, smtp_security="starttls")).check()
    assert mailbox.mails == []


async def test_a_mail_is_tried_again_with_a_new_link_and_longer_pauses(postgres_url: str) -> None:
    mailbox = Mailbox()
    async with open_server(mailbox) as port, open_auth(postgres_url, settings=settings_of(port)) as auth:
        await auth.open_account()
        await auth.ask_reset()
        hashes = set()
        pauses = []
        for at_rcpt, at_data in (("451 later", ""), ("", "452 full"), ("421 bye", "")):
            mailbox.at_rcpt, mailbox.at_data = at_rcpt, at_data
            await auth.send_mails()
            async with auth.database.connection() as connection:
                hashes.add(await connection.fetchval("SELECT token_sha256 FROM auth.password_links"))
                due = await connection.fetchval("SELECT next_attempt_at FROM auth.mails")
            pauses.append((due - auth.clock.at).total_seconds())
            await auth.send_mails()  # not due yet
            auth.clock.at = due
        assert pauses == [30, 60, 120]
        assert len(hashes) == 3
        mailbox.at_rcpt = mailbox.at_data = ""
        await auth.send_mails()
        [mail] = mailbox.mails
        assert (await auth.confirm_reset(link_token(mail), NEW)).status_code == 200


async def test_a_mail_is_given_up_when_it_is_refused_or_too_old(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = Mailbox()
    async with open_server(mailbox) as port, open_auth(postgres_url, settings=settings_of(port)) as auth:
        await auth.open_account()
        for at_rcpt, at_data in (("550 nobody here", ""), ("", "554 no thanks")):
            mailbox.at_rcpt, mailbox.at_data = at_rcpt, at_data
            await auth.ask_reset()
            await auth.send_mails()
            assert await auth.count("mails") == 0
        mailbox.at_rcpt, mailbox.at_data = "451 later", ""
        await auth.ask_reset()
        await auth.send_mails()
        auth.clock.at += timedelta(days=1)
        await auth.send_mails()
        assert await auth.count("mails") == 0
    assert "is given up after 2 attempts" in caplog.text
    assert "nora@" not in caplog.text


async def test_a_server_that_is_away_or_hangs_holds_nobody_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.mail.carriers.SMTP_TIMEOUT_S", 0.2)
    mailbox = Mailbox()
    mailbox.hangs = True
    async with open_server(mailbox) as port, open_auth(postgres_url, settings=settings_of(port)) as auth:
        for email in ("nora@example.test", "olaf@example.test", "pia@example.test"):
            await auth.open_account(email)
            assert (await auth.ask_reset(email)).status_code == 202
        async with asyncio.timeout(5):
            await auth.send_mails()
        assert await auth.count("mails") == 3
    with pytest.raises(UnavailableError):
        await SmtpCarrier(settings_of(port)).carry(letter())


async def test_of_several_senders_each_mail_is_sent_by_one(postgres_url: str) -> None:
    mailbox = Mailbox()
    async with open_server(mailbox) as port, open_auth(postgres_url, settings=settings_of(port)) as auth:
        emails = [f"u{n}@example.test" for n in range(12)]
        for email in emails:
            await auth.open_account(email)
            await auth.ask_reset(email)
        [worker] = [worker for worker in auth.service.workers if worker.name == "auth-mails"]
        await asyncio.gather(*(run_once(worker) for _ in range(4)))
        assert sorted(mail["To"] for mail in mailbox.mails) == sorted(emails)


async def test_a_mail_that_breaks_its_sender_stands_in_nobodys_way(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Letters.write

    def break_at_nora(self: Letters, kind: Any, address: str, *rest: Any) -> EmailMessage:
        if address == "nora@example.test":
            raise KeyError("unheard of")
        return write(self, kind, address, *rest)

    monkeypatch.setattr(Letters, "write", break_at_nora)
    mailbox = Mailbox()
    async with open_server(mailbox) as port, open_auth(postgres_url, settings=settings_of(port)) as auth:
        for email in ("nora@example.test", "olaf@example.test"):
            await auth.open_account(email)
            await auth.ask_reset(email)
        await auth.send_mails()
        assert [mail["To"] for mail in mailbox.mails] == ["olaf@example.test"]
        async with auth.database.connection() as connection:
            assert await connection.fetchval("SELECT attempts FROM auth.mails WHERE sent_at IS NULL") == 1


async def test_one_address_gets_so_many_mails_an_hour_whoever_asks(auth: Auth) -> None:
    await auth.open_account()
    for _ in range(2 * MAILS_PER_HOUR):
        auth.clock.at += timedelta(seconds=61)
        assert (await auth.ask_reset()).status_code == 202
        await auth.send_mails()
    assert len(auth.list_mails()) == MAILS_PER_HOUR
    auth.clock.at += timedelta(hours=1)
    token = await auth.get_reset_token()
    for _ in range(MAILS_PER_HOUR - 1):
        auth.clock.at += timedelta(seconds=61)
        token = await auth.get_reset_token()
    # Many mails before it do not keep the news from anybody.
    assert (await auth.confirm_reset(token, NEW)).status_code == 200
    await auth.send_mails()
    assert [mail["Subject"] for mail in auth.list_mails()[MAILS_PER_HOUR:]] == [
        *["Set a new password"] * MAILS_PER_HOUR,
        "Your password was changed",
    ]


async def test_without_a_server_mail_goes_into_a_folder_and_the_log(
    auth: Auth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await auth.open_account()
    token = await auth.get_reset_token()
    [path] = auth.mails.iterdir()
    assert (path.stat().st_mode & 0o777, auth.mails.stat().st_mode & 0o777) == (0o600, 0o700)
    assert f"https://api.example.test/password-reset#{token}" in caplog.text
    assert token.encode() in path.read_bytes()


async def test_without_server_and_folder_mail_is_refused_and_told(
    auth: Auth, caplog: pytest.LogCaptureFixture
) -> None:
    await auth.open_account()
    assert (await auth.ask_reset()).status_code == 202
    sender = MailSender(auth.database, NoCarrier(), Letters(SETTINGS, auth.clock), auth.clock)
    assert await sender.send_due() == 1
    assert "set LLMRING_SMTP_HOST" in caplog.text
    assert await auth.count("mails") == 0
