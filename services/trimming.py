"""What the event log in Postgres may forget: needs to know every group, so it stands beside `all_in_one`."""

from datetime import timedelta

from services.auth import service as auth
from services.auth.note_webhooks import GROUP as AUDIT
from services.auth.tell_of_webhooks import GROUP as MAILS
from services.ingest import service as ingest
from services.ingest.record import RATER
from services.receipts import service as receipts
from services.receipts.issue import GROUP as ISSUER
from services.webhooks import service as webhooks
from services.webhooks.take import GROUP as WEBHOOKS
from shared.contracts.topics import (
    BUDGETS_CROSSED,
    KEYS_CHANGED,
    REGISTRY_PUBLISHED,
    RETENTION,
    USAGE_LOGGED,
    USAGE_RATED,
    WEBHOOKS_CHANGED,
    WEBHOOKS_DISABLED,
)
from shared.event_log.positions import PostgresPositions
from shared.event_log.postgres.trim import Group, Trimmer
from shared.postgres import Database
from shared.runtime.service import Worker


def build_trimmer(
    database: Database, *, passed_on: timedelta | None = None, accepted: timedelta | None = None
) -> Worker:
    """The loop that deletes old records; for deployments whose event log is in Postgres.

    Args:
        database: of the event log, of `usage`, `receipts`, `webhooks` and `auth`.
        passed_on: how old the records of topics may become that repeat what Postgres holds; None is
            `RETENTION`. `usage.dead` is kept for ever.
        accepted: the same of `usage.logged`; None is for ever. What is deleted cannot be rebuilt from.
    """
    retention = {
        topic: keep if keep is None or passed_on is None else passed_on for topic, keep in RETENTION.items()
    }
    retention[USAGE_LOGGED] = accepted
    hooks = [Group(WEBHOOKS, PostgresPositions(database, webhooks.SCHEMA.name))]
    accounts = PostgresPositions(database, auth.SCHEMA.name)
    groups = {
        USAGE_LOGGED: [Group(RATER, PostgresPositions(database, ingest.SCHEMA.name))],
        USAGE_RATED: [Group(ISSUER, PostgresPositions(database, receipts.SCHEMA.name))],
        BUDGETS_CROSSED: hooks,
        WEBHOOKS_CHANGED: [Group(AUDIT, accounts)],
        WEBHOOKS_DISABLED: [Group(MAILS, accounts)],
        REGISTRY_PUBLISHED: hooks,
        KEYS_CHANGED: hooks,
    }
    return Worker("event-log-trim", Trimmer(database, retention, groups).run)
