"""What the environment says. No other module reads it."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import click
import msgspec

from services.auth.settings import AuthSettings, OAuthClient
from services.cli.check_settings import list_faults
from services.gateway.settings import GatewaySettings
from services.ingest.settings import RetentionSettings
from services.receipts.settings import ReceiptsSettings
from services.webhooks.settings import WebhooksSettings
from shared.contracts.topics import PASSED_ON_RETENTION
from shared.settings import SettingsError, read_settings

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=31_536_000)]
Hours = Annotated[int, msgspec.Meta(ge=1, le=8_784)]
Days = Annotated[int, msgspec.Meta(ge=1, le=36_500)]


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of every process; each is `LLMRING_` and the name in capitals.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        data_dir: holds everything that must survive: the embedded database, the operator's key, signing keys.
        tls_certificate_file: PEM, the chain with our own certificate first: the public port speaks HTTPS.
        tls_key_file: PEM, its private key, not encrypted.
        max_connections: clients' connections that the public port holds at a time.
        public_url: where people reach this deployment; the address it listens on by default.
        database_url: replaces the embedded Postgres.
        kafka_bootstrap: replaces the event log in Postgres: `host:port`, several with commas.
        kafka_security_protocol: how brokers are spoken to, in Kafka's own words.
        kafka_sasl_mechanism: how we log in there, where the protocol says that we do.
        kafka_username: likewise.
        kafka_password: likewise.
        kafka_ca_file: PEM, whom to trust for brokers' certificates, instead of those that this machine does.
        kafka_certificate_file: PEM, our own certificate with its chain, for brokers that want one.
        kafka_key_file: PEM, its private key, not encrypted.
        kafka_replication_factor: copies of each topic that `migrate` creates; three by default, or as many as
            there are brokers.
        event_log_retention_days: how long the event log in Postgres keeps records that repeat what Postgres
            holds. Kafka has settings of its own.
        event_log_accepted_retention_days: the same of `usage.logged`; for ever by default. What is deleted
            cannot be rebuilt from.
        redis_url: keeps what several processes share: rate limits and the newest record of each account.
        registry_url: where the registry service is, for the processes that ask it.
        ingest_url: where the ingest service is, for the gateway, auth and receipts.
        auth_url: where the auth service is, for the gateway, ingest and the raters.
        receipts_url: where the receipts service is, for the gateway.
        webhooks_url: where the webhooks service is, for the gateway.
        principal_seed: base64 of the 32 seed bytes by which the gateway vouches for callers.
        principal_public_keys: base64 of the public half, for the services behind the gateway; several while
            it is being changed.
        metrics_port: a port of its own for `/metrics`, where the other one is public.
        public_metrics: whether `/metrics` is served on the public port too.
        log_level: the lowest level that is written.
        log_format: `json`, `text`, or `auto`: text at a terminal, else JSON.
        anonymous_requests_per_minute: the limit of each client address without a key.
        trusted_proxies: networks whose `X-Forwarded-For` is believed; none by default.
        session_idle_hours: a login that nobody uses for so long ends.
        session_hours: a login ends after so long however much it is used.
        attempts_per_client_per_minute: logins that one client address may try; as many resets of passwords.
        logins_per_email_per_minute: wrong passwords that one email address may be tried with.
        smtp_host: the server that takes mail. Without one mail goes to the log and into the data directory
            where all is one process, and nowhere else.
        smtp_port: of it; by default 587, 465 or 25, by what secures it.
        smtp_user: to log in there, if it wants that.
        smtp_password: likewise.
        smtp_security: `starttls`, `tls` from the first byte, or `none`.
        smtp_from: whom mail comes from.
        google_client_id: what this deployment is at Google; with its secret, logins there are offered.
        google_client_secret: likewise.
        google_issuer: another provider that speaks OpenID Connect, instead of Google.
        github_client_id: what this deployment is at GitHub; with its secret, logins there are offered.
        github_client_secret: likewise.
        github_url: a GitHub Enterprise Server, instead of GitHub.
        keys_per_account: API keys that live at a time in one account.
        cors_origins: sites whose scripts may read answers; none by default.
        retention_grace_days: for how long nothing of an account is deleted after its retention became
            shorter.
        retention_interval_s: how often records older than their account's retention are looked for.
        receipts_signing_seed: base64 of the 32 seed bytes that receipts are signed with; made and kept in the
            data directory by default. A new one rotates the key.
        receipts_log_origin: the name of the log of receipts; empty for one made from the first signing key.
        receipts_witnesses: those that cosign the receipts' log: a verifier key each, and after a blank the
            address where it is asked; without one it comes by itself (`llmring-api witness follow`).
        receipts_witness_quorum: how many of them must have cosigned a checkpoint that counts as witnessed.
            All of them by default.
        receipts_witness_interval_s: how often the log's growth is shown to them.
        receipts_witness_overdue_s: how long one may be behind before that is reported.
        webhooks_key: base64 of the 32 bytes that secrets of webhooks are sealed with in the database; made
            and kept in the data directory by default. Two while it is being changed, the new one first.
        webhooks_allow_private: webhooks may use plain HTTP and addresses that are not public, for
            development.
        webhooks_per_account: webhooks that an account may have.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    data_dir: str = "./data"
    tls_certificate_file: str | None = None
    tls_key_file: str | None = None
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    public_url: str | None = None
    database_url: str | None = None
    kafka_bootstrap: str | None = None
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: str = ""
    kafka_ca_file: str | None = None
    kafka_certificate_file: str | None = None
    kafka_key_file: str | None = None
    kafka_replication_factor: Annotated[int, msgspec.Meta(ge=1)] | None = None
    event_log_retention_days: Days = PASSED_ON_RETENTION.days
    event_log_accepted_retention_days: Days | None = None
    redis_url: str | None = None
    registry_url: str | None = None
    ingest_url: str | None = None
    auth_url: str | None = None
    receipts_url: str | None = None
    webhooks_url: str | None = None
    principal_seed: str = ""
    principal_public_keys: tuple[str, ...] = ()
    metrics_port: Port | None = None
    public_metrics: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    anonymous_requests_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 60
    trusted_proxies: tuple[str, ...] = ()
    session_idle_hours: Hours = 24
    session_hours: Hours = 168
    attempts_per_client_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 30
    logins_per_email_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 10
    smtp_host: str = ""
    smtp_port: Port | None = None
    smtp_user: str = ""
    smtp_password: str = ""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_from: str = ""
    google_client_id: str = ""
    google_client_secret: str = ""
    google_issuer: str = "https://accounts.google.com"
    github_client_id: str = ""
    github_client_secret: str = ""
    github_url: str = "https://github.com"
    keys_per_account: Annotated[int, msgspec.Meta(ge=1)] = 100
    cors_origins: tuple[str, ...] = ()
    retention_grace_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 7
    retention_interval_s: Seconds = 3600
    receipts_signing_seed: str = ""
    receipts_log_origin: str = ""
    receipts_witnesses: tuple[str, ...] = ()
    receipts_witness_quorum: Annotated[int, msgspec.Meta(ge=1)] | None = None
    receipts_witness_interval_s: Seconds = 10
    receipts_witness_overdue_s: Seconds = 600
    webhooks_key: tuple[str, ...] = ()
    webhooks_allow_private: bool = False
    webhooks_per_account: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20

    @property
    def address(self) -> str:
        """The URL at which this machine reaches the process; of all its addresses, the local one."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        scheme = "http" if self.tls_certificate_file is None else "https"
        return f"{scheme}://{host}:{self.port}"

    @property
    def urls(self) -> dict[str, str]:
        """Where the services behind the gateway are, by name, as far as it is known."""
        known = {
            "registry": self.registry_url,
            "ingest": self.ingest_url,
            "auth": self.auth_url,
            "receipts": self.receipts_url,
            "webhooks": self.webhooks_url,
        }
        return {name: url for name, url in known.items() if url}

    @property
    def auth(self) -> AuthSettings:
        """Those of the auth service."""
        return AuthSettings(
            public_url=self.public_url or self.address,
            session_idle_hours=self.session_idle_hours,
            session_hours=self.session_hours,
            attempts_per_client=self.attempts_per_client_per_minute,
            logins_per_email=self.logins_per_email_per_minute,
            smtp_host=self.smtp_host,
            smtp_port=self.smtp_port,
            smtp_user=self.smtp_user,
            smtp_password=self.smtp_password,
            smtp_security=self.smtp_security,
            smtp_from=self.smtp_from,
            google=_client(self.google_client_id, self.google_client_secret, self.google_issuer),
            github=_client(self.github_client_id, self.github_client_secret, self.github_url),
            keys_per_account=self.keys_per_account,
        )

    @property
    def gateway(self) -> GatewaySettings:
        """Those of the gateway."""
        return GatewaySettings(
            public_url=self.public_url or self.address,
            anonymous_requests_per_minute=self.anonymous_requests_per_minute,
            trusted_proxies=self.trusted_proxies,
            cors_origins=self.cors_origins,
        )

    @property
    def retention(self) -> RetentionSettings:
        """Those of the deletion of old records."""
        return RetentionSettings(grace_days=self.retention_grace_days, interval_s=self.retention_interval_s)

    @property
    def receipts(self) -> ReceiptsSettings:
        """Those of the receipts service."""
        return ReceiptsSettings(
            data_dir=str(self.data_path),
            signing_seed=self.receipts_signing_seed,
            log_origin=self.receipts_log_origin,
            witnesses=self.receipts_witnesses,
            witness_quorum=self.receipts_witness_quorum,
            witness_interval_s=self.receipts_witness_interval_s,
            witness_overdue_s=self.receipts_witness_overdue_s,
        )

    @property
    def webhooks(self) -> WebhooksSettings:
        """Those of webhooks."""
        return WebhooksSettings(
            data_dir=str(self.data_path),
            sealing_keys=self.webhooks_key,
            allow_private=self.webhooks_allow_private,
            endpoints_per_account=self.webhooks_per_account,
        )

    @property
    def data_path(self) -> Path:
        """The data directory as a path."""
        return Path(self.data_dir).expanduser().resolve()

    @property
    def logs_as_json(self) -> bool:
        """Whether logs are written as JSON lines."""
        return self.log_format == "json" or (self.log_format == "auto" and not sys.stderr.isatty())


def _client(client_id: str, client_secret: str, url: str) -> OAuthClient | None:
    return OAuthClient(client_id=client_id, client_secret=client_secret, url=url) if client_secret else None


def load_settings() -> ProcessSettings:
    """Read the environment.

    Raises:
        click.ClickException: one or more variables are wrong; all of them are named.
    """
    try:
        settings = read_settings(ProcessSettings, os.environ)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    faults = list_faults(settings)
    if faults:
        raise click.ClickException("\n".join(faults))
    return settings
