"""Auth, put together."""

from datetime import timedelta
from importlib.resources import files
from typing import Final

from services.auth.admin import AccountAdmin
from services.auth.announce import KeyChanges
from services.auth.forget import Forgetting
from services.auth.keys import AccountKeys
from services.auth.login import Login
from services.auth.mail.carriers import build_carrier
from services.auth.mail.letters import Letters
from services.auth.note_webhooks import build_webhook_audit
from services.auth.oauth.choose import build_providers
from services.auth.oauth.log_in import OAuthLogin
from services.auth.overview import Overviews
from services.auth.own_keys import OwnKeys
from services.auth.passwords import PasswordHashes
from services.auth.pending_keys import PendingKeys
from services.auth.profile import Profile
from services.auth.read_audit import AuditLog
from services.auth.register import Registration
from services.auth.reset import PasswordReset
from services.auth.retention import RetentionRules
from services.auth.routes.account import build_account_routes
from services.auth.routes.admin import build_admin_routes
from services.auth.routes.audit import build_audit_routes
from services.auth.routes.cookies import LoginCookies, SessionCookie
from services.auth.routes.keys import build_key_routes
from services.auth.routes.login import build_login_route
from services.auth.routes.oauth import build_oauth_routes
from services.auth.routes.register import build_register_routes
from services.auth.routes.reset import build_reset_routes
from services.auth.routes.session import build_session_routes
from services.auth.routes.verify import build_verify_route
from services.auth.send_mails import MailSender
from services.auth.sessions import Sessions
from services.auth.settings import AuthSettings
from services.auth.tell_of_webhooks import build_notices
from services.auth.throttle import Throttle
from services.auth.verify import KeyVerification
from shared.clock import Clock
from shared.event_log.port import EventLog
from shared.event_log.positions import PostgresPositions
from shared.limits.port import RateLimiter
from shared.postgres import Database, Schema
from shared.runtime.service import Service, Worker
from shared.web.app import build_app
from shared.web.client import Upstream
from shared.web.outbound import Outbound
from shared.web.principal import PrincipalVerifier

SCHEMA: Final = Schema("auth", files("services.auth") / "migrations")

MAX_BODY_BYTES: Final = 64 * 1024
"""No request of this service is nearly as large; a longer one is refused before anything is made of it."""

PROVIDER_PATIENCE: Final = timedelta(seconds=5)
"""For one question to a provider of logins."""

PROVIDER_MAX_BYTES: Final = 256 * 1024
"""No answer of a provider is nearly as large."""


def build_auth(
    *,
    database: Database,
    event_log: EventLog,
    principals: PrincipalVerifier,
    client_limiter: RateLimiter,
    email_limiter: RateLimiter,
    clock: Clock,
    settings: AuthSettings,
    ingest: Upstream | None = None,
    version: str = "0.1.0",
) -> Service:
    """Wire the service: its HTTP application, the relay of its outbox, the sender of its mails, and who
    deletes what has ended.

    Args:
        database: with this service's migrations applied by the time it answers.
        event_log: takes `keys.changed`, gives `webhooks.changed` and `webhooks.disabled`.
        principals: checks the gateway's token.
        client_limiter: counts attempts to log in and the like, by client address.
        email_limiter: the same by email address.
        clock: tells what has expired, and when things were made.
        settings: of this service.
        ingest: knows what accounts have used of the month; None where it cannot be asked.
        version: of the OpenAPI document.
    """
    changes = KeyChanges(database, event_log, clock)
    passwords = PasswordHashes(settings)
    sessions = Sessions(database, changes, settings, clock)
    throttle = Throttle(client_limiter, email_limiter, settings, clock)
    cookie = SessionCookie(settings)
    login = Login(
        database=database,
        changes=changes,
        passwords=passwords,
        sessions=sessions,
        throttle=throttle,
        clock=clock,
    )
    reset = PasswordReset(
        database=database, changes=changes, passwords=passwords, throttle=throttle, clock=clock
    )
    mails = MailSender(database, build_carrier(settings), Letters(settings, clock), clock)
    forgetting = Forgetting(database, clock, timedelta(hours=settings.session_idle_hours))
    outbound = Outbound(timeout=PROVIDER_PATIENCE, max_bytes=PROVIDER_MAX_BYTES)
    positions = PostgresPositions(database, SCHEMA.name)
    notices = build_notices(database, event_log, positions, clock)
    webhook_audit = build_webhook_audit(database, event_log, positions)
    pending = PendingKeys(database, clock)
    oauth = OAuthLogin(
        database=database,
        changes=changes,
        sessions=sessions,
        pending=pending,
        providers=build_providers(settings, outbound, clock),
        clock=clock,
    )
    handlers = [
        *build_register_routes(Registration(database, changes, passwords, clock), settings.public_url),
        build_login_route(login, cookie),
        *build_reset_routes(reset),
        *build_oauth_routes(oauth, pending, cookie, LoginCookies(settings)),
        *build_session_routes(sessions, Profile(database, changes, clock), cookie),
        *build_admin_routes(AccountAdmin(database, changes, clock)),
        *build_key_routes(AccountKeys(database, changes, clock, settings.keys_per_account)),
        *build_account_routes(Overviews(database, ingest), RetentionRules(database), OwnKeys(database)),
        *build_audit_routes(AuditLog(database)),
        build_verify_route(KeyVerification(database, sessions, clock)),
    ]
    return Service(
        name="auth",
        app=build_app(
            "LLMRing API: accounts and keys",
            handlers,
            service="auth",
            principals=principals,
            version=version,
            max_body_bytes=MAX_BODY_BYTES,
        ),
        workers=[
            Worker("auth-relay", changes.run_relay),
            Worker("auth-mails", mails.run),
            Worker("auth-notices", notices.run),
            Worker("auth-forget", forgetting.run),
            Worker("auth-webhook-audit", webhook_audit.run),
        ],
        pings={"database": database.ping, "event_log": event_log.ping},
        on_stop=[passwords.close, outbound.close],
    )
