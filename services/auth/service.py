"""Auth, put together."""

from importlib.resources import files
from typing import Final

from services.auth.admin import AccountAdmin
from services.auth.announce import KeyChanges
from services.auth.passwords import PasswordHashes
from services.auth.read_audit import AuditLog
from services.auth.register import Registration
from services.auth.routes.admin import build_admin_routes
from services.auth.routes.audit import build_audit_routes
from services.auth.routes.register import build_register_routes
from services.auth.routes.verify import build_verify_route
from services.auth.settings import AuthSettings
from services.auth.verify import KeyVerification
from shared.clock import Clock
from shared.event_log.port import EventLog
from shared.postgres import Database, Schema
from shared.runtime.service import Service, Worker
from shared.web.app import build_app
from shared.web.principal import PrincipalVerifier

SCHEMA: Final = Schema("auth", files("services.auth") / "migrations")

MAX_BODY_BYTES: Final = 64 * 1024
"""No request of this service is nearly as large; a longer one is refused before anything is made of it."""


def build_auth(
    *,
    database: Database,
    event_log: EventLog,
    principals: PrincipalVerifier,
    clock: Clock,
    settings: AuthSettings,
    version: str = "0.1.0",
) -> Service:
    """Wire the service: its HTTP application and the relay of its outbox.

    Args:
        database: with this service's migrations applied by the time it answers.
        event_log: takes `keys.changed`.
        principals: checks the gateway's token.
        clock: tells what has expired, and when things were made.
        settings: of this service.
        version: of the OpenAPI document.
    """
    changes = KeyChanges(database, event_log, clock)
    passwords = PasswordHashes(settings)
    handlers = [
        *build_register_routes(Registration(database, changes, passwords, clock), settings.public_url),
        *build_admin_routes(AccountAdmin(database, changes, clock)),
        *build_audit_routes(AuditLog(database)),
        build_verify_route(KeyVerification(database, clock)),
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
        workers=[Worker("auth-relay", changes.run_relay)],
        pings={"database": database.ping, "event_log": event_log.ping},
        on_stop=[passwords.close],
    )
