"""The endpoints of accounts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from shared.postgres import Connection, Row

_LOCKS: Final = 0x6C6C6D72_77656268

EndpointStatus = Literal["enabled", "disabled"]

COLUMNS: Final = (
    "endpoint_id, url, events, description, status, disabled_reason, disabled_at, failing_since, created_at, "
    "updated_at, CASE WHEN old_secret_until > $1 THEN old_secret_until END"
)


class Endpoint(NamedTuple):
    """An endpoint without its secrets.

    Attributes:
        disabled_reason: why the system disabled it; None where its owner did.
        failing_since: when the first attempt failed of those since the last success.
        old_secret_until: until when the secret before signs as well.
    """

    endpoint_id: UUID
    url: str
    events: tuple[str, ...]
    description: str | None
    status: EndpointStatus
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime
    old_secret_until: datetime | None

    @property
    def is_enabled(self) -> bool:
        """Whether anything is sent to it."""
        return self.status == "enabled"


def _read(row: Row) -> Endpoint:
    endpoint = Endpoint(*row)
    return endpoint._replace(events=tuple(endpoint.events))


LOCK_ACCOUNT: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1::text, $2))"


async def lock_account(connection: Connection, account_id: UUID) -> None:
    """Be the only one that changes an account's endpoints, until the transaction ends."""
    await connection.execute(LOCK_ACCOUNT, str(account_id), _LOCKS)


LIST_ENDPOINTS: Final = f"""
SELECT {COLUMNS} FROM webhooks.endpoints WHERE account_id = $2 ORDER BY endpoint_id
"""  # noqa: S608 - a constant


async def list_endpoints(connection: Connection, account_id: UUID, at: datetime) -> list[Endpoint]:
    """All endpoints of an account, oldest first."""
    return [_read(row) for row in await connection.fetch(LIST_ENDPOINTS, at, account_id)]


FIND_ENDPOINT: Final = f"""
SELECT {COLUMNS} FROM webhooks.endpoints WHERE account_id = $2 AND endpoint_id = $3
"""  # noqa: S608 - a constant


async def find_endpoint(
    connection: Connection, account_id: UUID, endpoint_id: UUID, at: datetime
) -> Endpoint | None:
    """One endpoint of an account."""
    row = await connection.fetchrow(FIND_ENDPOINT, at, account_id, endpoint_id)
    return None if row is None else _read(row)


COUNT_ENDPOINTS: Final = "SELECT count(*) FROM webhooks.endpoints WHERE account_id = $1"


async def count_endpoints(connection: Connection, account_id: UUID) -> int:
    """How many endpoints an account has."""
    return int(await connection.fetchval(COUNT_ENDPOINTS, account_id))


INSERT_ENDPOINT: Final = """
INSERT INTO webhooks.endpoints
    (account_id, endpoint_id, url, events, description, status, secret, created_at, updated_at, made_by)
VALUES ($1, $2, $3, $4, $5, 'enabled', $6, $7, $7, $8)
"""


async def insert_endpoint(
    connection: Connection, account_id: UUID, endpoint: Endpoint, sealed_secret: bytes, made_by: UUID
) -> None:
    """Add an endpoint, enabled."""
    await connection.execute(
        INSERT_ENDPOINT,
        account_id,
        endpoint.endpoint_id,
        endpoint.url,
        list(endpoint.events),
        endpoint.description,
        sealed_secret,
        endpoint.created_at,
        made_by,
    )


UPDATE_ENDPOINT: Final = """
UPDATE webhooks.endpoints
   SET url = $3, events = $4, description = $5, status = $6, disabled_reason = $7, disabled_at = $8,
       failing_since = $9, updated_at = $10
 WHERE account_id = $1 AND endpoint_id = $2
"""


async def update_endpoint(connection: Connection, account_id: UUID, endpoint: Endpoint) -> None:
    """Store what may be changed of an endpoint."""
    await connection.execute(
        UPDATE_ENDPOINT,
        account_id,
        endpoint.endpoint_id,
        endpoint.url,
        list(endpoint.events),
        endpoint.description,
        endpoint.status,
        endpoint.disabled_reason,
        endpoint.disabled_at,
        endpoint.failing_since,
        endpoint.updated_at,
    )


UPDATE_SECRETS: Final = """
UPDATE webhooks.endpoints
   SET old_secret = secret, old_secret_until = $4, secret = $3, updated_at = $5
 WHERE account_id = $1 AND endpoint_id = $2
"""


async def update_secrets(
    connection: Connection,
    account_id: UUID,
    endpoint_id: UUID,
    sealed: bytes,
    *,
    until: datetime,
    at: datetime,
) -> bool:
    """Put a new secret in place; the one before signs until an instant as well. False: no such endpoint."""
    done = await connection.execute(UPDATE_SECRETS, account_id, endpoint_id, sealed, until, at)
    return done == "UPDATE 1"


DELETE_ENDPOINT: Final = "DELETE FROM webhooks.endpoints WHERE account_id = $1 AND endpoint_id = $2"


async def delete_endpoint(connection: Connection, account_id: UUID, endpoint_id: UUID) -> None:
    """Take an endpoint out with all its deliveries."""
    await connection.execute(DELETE_ENDPOINT, account_id, endpoint_id)


CLEAR_FAILING: Final = """
UPDATE webhooks.endpoints SET failing_since = NULL
 WHERE account_id = $1 AND endpoint_id = $2 AND failing_since IS NOT NULL
"""


async def clear_failing(connection: Connection, account_id: UUID, endpoint_id: UUID) -> None:
    """Note that an attempt succeeded."""
    await connection.execute(CLEAR_FAILING, account_id, endpoint_id)


NOTE_FAILING: Final = """
UPDATE webhooks.endpoints SET failing_since = COALESCE(failing_since, $3)
 WHERE account_id = $1 AND endpoint_id = $2
RETURNING failing_since
"""


async def note_failing(
    connection: Connection, account_id: UUID, endpoint_id: UUID, at: datetime
) -> datetime | None:
    """Note that an attempt failed; tells since when all have. None: there is no such endpoint any more."""
    since: datetime | None = await connection.fetchval(NOTE_FAILING, account_id, endpoint_id, at)
    return since


DISABLE_ENDPOINT: Final = """
UPDATE webhooks.endpoints
   SET status = 'disabled', disabled_reason = $3, disabled_at = $4, updated_at = $4
 WHERE account_id = $1 AND endpoint_id = $2 AND status = 'enabled'
RETURNING url
"""


async def disable_endpoint(
    connection: Connection, account_id: UUID, endpoint_id: UUID, *, reason: str, at: datetime
) -> str | None:
    """Disable an endpoint that is enabled; tells its URL. None where it is not enabled, or not there."""
    url: str | None = await connection.fetchval(DISABLE_ENDPOINT, account_id, endpoint_id, reason, at)
    return url


HAS_SUBSCRIBERS: Final = """
SELECT EXISTS (
    SELECT 1 FROM webhooks.endpoints
     WHERE status = 'enabled' AND created_at <= $1 AND events && $2::text[]
       AND ($3::uuid IS NULL OR account_id = $3)
)
"""


async def has_subscribers(
    connection: Connection, events: Sequence[str], at: datetime, account_id: UUID | None = None
) -> bool:
    """Whether any endpoint, of one account or of all, was there at an instant and wants one of the events."""
    return bool(await connection.fetchval(HAS_SUBSCRIBERS, at, list(events), account_id))
