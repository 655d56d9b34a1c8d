"""What can be set of the auth service."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


def is_plain_url(url: str) -> bool:
    """Whether it is an address on the web of which paths can be made."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.query or parts.fragment or "@" in parts.netloc or " " in url)
        )
    except ValueError:
        return False


class OAuthClient(msgspec.Struct, frozen=True, kw_only=True):
    """What this deployment is at a provider of logins.

    Attributes:
        client_id: as the provider gave it.
        client_secret: likewise.
        url: where the provider is: the issuer, or where people log in.
    """

    client_id: str
    client_secret: str
    url: str

    def __repr__(self) -> str:
        return (
            f"OAuthClient(client_id={self.client_id!r}, url={self.url!r})"  # the secret never reaches a log
        )


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; only the command line reads the environment.

    The defaults of argon2id are the second recommended option of RFC 9106, section 4. Each running hash takes
    its memory whole, so `password_hashes_at_once` times that is what a flood of registrations can take.

    Attributes:
        public_url: where people reach this deployment, without a slash at the end.
        password_hash_memory_kib: memory of one hash, at least 8 per lane.
        password_hash_passes: passes over that memory.
        password_hash_lanes: threads of one hash.
        password_hashes_at_once: hashes computed at a time, beside the event loop.
        password_hashes_waiting: requests that may wait for one; more are told to come back.
        session_idle_hours: a session that nobody uses for so long ends.
        session_hours: a session ends after so long however much it is used.
        attempts_per_client: logins that one client address may try in any 60 s; as many resets of passwords.
        smtp_host: the server that takes mail; empty for none.
        smtp_port: of it; None is 587, 465 or 25, by what secures it.
        smtp_user: to log in there; empty for no login.
        smtp_password: likewise.
        smtp_security: `starttls`, `tls` from the first byte, or `none`.
        smtp_from: whom mail comes from: an address, or a name and an address in angle brackets.
        mail_folder: where mail is put while there is no server for it; empty for nowhere.
        logins_per_email: wrong passwords that one email address may be tried with in any 60 s.
        keys_per_account: API keys that live at a time in one account.
        google: logins by OpenID Connect at Google, or at another issuer; None for none.
        github: logins at GitHub; None for none.
    """

    public_url: str = "http://127.0.0.1:8080"
    password_hash_memory_kib: Annotated[int, msgspec.Meta(ge=8)] = 64 * 1024
    password_hash_passes: _AtLeastOne = 3
    password_hash_lanes: _AtLeastOne = 4
    password_hashes_at_once: _AtLeastOne = 2
    password_hashes_waiting: _AtLeastOne = 64
    session_idle_hours: _AtLeastOne = 24
    session_hours: _AtLeastOne = 168
    attempts_per_client: _AtLeastOne = 30
    logins_per_email: _AtLeastOne = 10
    keys_per_account: _AtLeastOne = 100
    google: OAuthClient | None = None
    github: OAuthClient | None = None
    smtp_host: str = ""
    smtp_port: int | None = None
    smtp_user: str = ""
    smtp_password: str = ""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_from: str = ""
    mail_folder: str = ""

    def __repr__(self) -> str:
        return f"AuthSettings(public_url={self.public_url!r})"  # the password never reaches a log
