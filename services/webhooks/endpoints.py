"""An account's endpoints: list, make, change and delete them, renew their secrets, try them out.

Changes of one account's endpoints are made one after the other, under its lock.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from msgspec import UnsetType
from msgspec.structs import asdict

from services.webhooks.events import EVENTS, WEBHOOK_TEST, write_message
from services.webhooks.messages import (
    EndpointChange,
    EndpointList,
    EndpointRequest,
    EndpointView,
    NewEndpoint,
    NewSecret,
    Queued,
)
from services.webhooks.note_change import Caller, difference, facts_of, note_change
from services.webhooks.sealing_key import SealingKey
from services.webhooks.signing import new_secret, show_secret
from services.webhooks.store.deliveries import fail_pending
from services.webhooks.store.endpoints import (
    Endpoint,
    count_endpoints,
    delete_endpoint,
    find_endpoint,
    insert_endpoint,
    list_endpoints,
    lock_account,
    update_endpoint,
    update_secrets,
)
from services.webhooks.store.messages import insert_message_to
from shared.clock import Clock
from shared.errors import ConflictError, Fault, InvalidFieldError, NotFoundError
from shared.ids import uuid7
from shared.postgres import Connection, Database

BOTH_SIGN: Final = timedelta(hours=24)
"""For so long the secret before a rotation signs beside the new one."""

CheckUrl = Callable[[str], Awaitable[None]]
"""Raises `ValueError`, with the reason, where a URL may not be called."""


class AccountEndpoints:
    """Endpoints of any account. Who may do so is decided before.

    Args:
        database: of the schema `webhooks`.
        sealing_key: seals secrets.
        check_url: tells which URLs may be called.
        clock: dates what is made and changed.
        max_endpoints: the most that an account may have.
    """

    def __init__(
        self,
        *,
        database: Database,
        sealing_key: SealingKey,
        check_url: CheckUrl,
        clock: Clock,
        max_endpoints: int,
    ) -> None:
        self._database = database
        self._sealing_key = sealing_key
        self._check_url = check_url
        self._clock = clock
        self._max_endpoints = max_endpoints

    async def list(self, account_id: UUID) -> EndpointList:
        """All of them, oldest first.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            found = await list_endpoints(connection, account_id, self._clock.now())
        return EndpointList([_view(each) for each in found])

    async def get(self, account_id: UUID, endpoint_id: UUID) -> EndpointView:
        """One of them.

        Raises:
            NotFoundError: the account has no such endpoint.
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            return _view(await self._get(connection, account_id, endpoint_id))

    async def create(self, by: Caller, request: EndpointRequest) -> NewEndpoint:
        """Make an endpoint, enabled.

        Raises:
            InvalidFieldError: a field is wrong; all that are wrong are named.
            ConflictError: the account has as many as it may.
            UnavailableError: the database is away.
        """
        await self._check(request.url, request.events, request.description)
        secret = new_secret()
        async with self._database.transaction() as connection:
            await lock_account(connection, by.account_id)
            if await count_endpoints(connection, by.account_id) >= self._max_endpoints:
                raise ConflictError(
                    f"The account has {self._max_endpoints} webhooks, as many as it may. Delete one first."
                )
            now = self._clock.now()
            endpoint = Endpoint(
                endpoint_id=uuid7(),
                url=request.url,
                events=_ordered(request.events),
                description=request.description,
                status="enabled",
                disabled_reason=None,
                disabled_at=None,
                failing_since=None,
                created_at=now,
                updated_at=now,
                old_secret_until=None,
            )
            sealed = await self._sealing_key.seal(connection, secret)
            await insert_endpoint(connection, by.account_id, endpoint, sealed, by.principal.key_id)
            await note_change(
                connection, by, "webhook.created", endpoint.endpoint_id, at=now, after=facts_of(endpoint)
            )
        return NewEndpoint(**asdict(_view(endpoint)), secret=show_secret(secret))

    async def change(self, by: Caller, endpoint_id: UUID, change: EndpointChange) -> EndpointView:
        """Change URL, events, description or status. Disabling gives up what is on its way.

        Raises:
            InvalidFieldError: a field is wrong; all that are wrong are named.
            NotFoundError: the account has no such endpoint.
            UnavailableError: the database is away.
        """
        account_id = by.account_id
        await self._check(change.url, change.events, change.description)
        async with self._database.transaction() as connection:
            await lock_account(connection, account_id)
            endpoint = await self._get(connection, account_id, endpoint_id)
            now = self._clock.now()
            changed = endpoint._replace(
                url=endpoint.url if isinstance(change.url, UnsetType) else change.url,
                events=endpoint.events if isinstance(change.events, UnsetType) else _ordered(change.events),
                description=endpoint.description
                if isinstance(change.description, UnsetType)
                else change.description,
            )
            if not isinstance(change.status, UnsetType) and change.status != endpoint.status:
                changed = changed._replace(
                    status=change.status,
                    disabled_reason=None,
                    disabled_at=None if change.status == "enabled" else now,
                    failing_since=None,
                )
            if changed == endpoint:
                return _view(endpoint)
            changed = changed._replace(updated_at=now)
            await update_endpoint(connection, account_id, changed)
            if not changed.is_enabled:
                await fail_pending(connection, account_id, endpoint_id)
            before, after = difference(endpoint, changed)
            await note_change(
                connection, by, "webhook.changed", endpoint_id, at=now, before=before, after=after
            )
        return _view(changed)

    async def rotate(self, by: Caller, endpoint_id: UUID) -> NewSecret:
        """Give an endpoint a new secret; the one before signs beside it for a day.

        Raises:
            NotFoundError: the account has no such endpoint.
            UnavailableError: the database is away.
        """
        now = self._clock.now()
        until = now + BOTH_SIGN
        secret = new_secret()
        async with self._database.transaction() as connection:
            sealed = await self._sealing_key.seal(connection, secret)
            if not await update_secrets(connection, by.account_id, endpoint_id, sealed, until=until, at=now):
                raise _no_such_endpoint()
            after = {"previous_secret_until": until}
            await note_change(connection, by, "webhook.secret_rotated", endpoint_id, at=now, after=after)
        return NewSecret(id=endpoint_id, secret=show_secret(secret), previous_secret_until=until)

    async def delete(self, by: Caller, endpoint_id: UUID) -> None:
        """Delete an endpoint with its log, and what is on its way to it.

        Raises:
            NotFoundError: the account has no such endpoint.
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            await lock_account(connection, by.account_id)
            endpoint = await self._get(connection, by.account_id, endpoint_id)
            await delete_endpoint(connection, by.account_id, endpoint_id)
            now = self._clock.now()
            before = facts_of(endpoint)
            await note_change(connection, by, "webhook.deleted", endpoint_id, at=now, before=before)

    async def test(self, account_id: UUID, endpoint_id: UUID) -> Queued:
        """Send a `webhook.test`, whatever the endpoint wants.

        Raises:
            NotFoundError: the account has no such endpoint.
            ConflictError: it is disabled.
            UnavailableError: the database is away.
        """
        now = self._clock.now()
        message = write_message(uuid7(), WEBHOOK_TEST, now, {"webhook_id": endpoint_id})
        async with self._database.transaction() as connection:
            await lock_account(connection, account_id)
            require_enabled(await self._get(connection, account_id, endpoint_id))
            await insert_message_to(connection, message, account_id, endpoint_id, at=now)
        return Queued(message_id=message.message_id, type=message.type)

    async def _get(self, connection: Connection, account_id: UUID, endpoint_id: UUID) -> Endpoint:
        return require_endpoint(await find_endpoint(connection, account_id, endpoint_id, self._clock.now()))

    async def _check(
        self, url: str | UnsetType, events: Sequence[str] | UnsetType, description: str | UnsetType | None
    ) -> None:
        faults: list[Fault] = []
        if not isinstance(url, UnsetType):
            try:
                await self._check_url(url)
            except ValueError as error:
                faults.append(Fault("url", f"{error}."))
        unknown = [] if isinstance(events, UnsetType) else [each for each in events if each not in EVENTS]
        if unknown:
            faults.append(Fault("events", f"{unknown[0][:64]!r} is no event; there are {', '.join(EVENTS)}."))
        if isinstance(description, str) and "\0" in description:
            faults.append(Fault("description", "must not contain a NUL character."))
        if faults:
            raise InvalidFieldError.all(faults)


def require_endpoint(found: Endpoint | None) -> Endpoint:
    """The endpoint that was found.

    Raises:
        NotFoundError: none was: the same for another account's as for one that never was.
    """
    if found is None:
        raise _no_such_endpoint()
    return found


def require_enabled(endpoint: Endpoint) -> None:
    """Let only an endpoint pass that is sent to.

    Raises:
        ConflictError: it is disabled.
    """
    if not endpoint.is_enabled:
        raise ConflictError("The webhook is disabled. Enable it first.")


def _no_such_endpoint() -> NotFoundError:
    return NotFoundError("There is no such webhook.")


def _ordered(events: Sequence[str]) -> tuple[str, ...]:
    """Each event once, in the order in which all endpoints have them."""
    return tuple(event for event in EVENTS if event in events)


def _view(endpoint: Endpoint) -> EndpointView:
    return EndpointView(
        id=endpoint.endpoint_id,
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        status=endpoint.status,
        disabled_reason=endpoint.disabled_reason,
        disabled_at=endpoint.disabled_at,
        failing_since=endpoint.failing_since,
        previous_secret_until=endpoint.old_secret_until,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )
