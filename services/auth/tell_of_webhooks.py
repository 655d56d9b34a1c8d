"""Write a mail for each webhook that was disabled, to the address of its account.

The mail is noted down in the transaction of the consumer's position, and sent as every other one.
"""

import asyncio
from datetime import datetime
from typing import Final

import msgspec

from services.auth.store.accounts import find_email_key
from services.auth.store.mails import Notice, insert_notice
from shared.clock import Clock, rfc3339
from shared.contracts.topics import WEBHOOKS_DISABLED
from shared.contracts.webhooks import DisabledReason, WebhookDisabled
from shared.event_log.consumer import run_consumer
from shared.event_log.dead_letter import Poison, dead_letter
from shared.event_log.port import EventLog, Slice
from shared.event_log.positions import PostgresPositions
from shared.postgres import Database

GROUP: Final = "auth-mails"
EVENT_VERSION: Final = 1
MAX_RECORDS: Final = 100

_WHY: Final[dict[DisabledReason, str]] = {
    "gone": "it answered 410, which says that it is gone",
    "failing": "every attempt of the last five days failed",
}
_decoder: Final = msgspec.json.Decoder(WebhookDisabled)


class WebhookNotices:
    """Takes slices of `webhooks.disabled`.

    Args:
        database: of the schema `auth`.
        event_log: gives `webhooks.disabled`, takes `usage.dead`.
        positions: fences each slice, so that it is applied once whoever delivers it.
        clock: tells when the mails are due: now.
    """

    def __init__(
        self, database: Database, event_log: EventLog, positions: PostgresPositions, clock: Clock
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._positions = positions
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Take, until told to stop."""
        await run_consumer(
            self._event_log,
            GROUP,
            WEBHOOKS_DISABLED,
            self._positions,
            self.take,
            stop=stop,
            max_records=MAX_RECORDS,
        )

    async def take(self, taken: Slice) -> None:
        """Note a mail for each event; set aside what cannot be read.

        Raises:
            FencedError: another member has applied this slice.
            UnavailableError: the database or the event log is away; nothing was stored.
        """
        events: list[WebhookDisabled] = []
        poison: list[Poison] = []
        for record in taken.records:
            try:
                event = _decoder.decode(record.value or b"")
                if event.v != EVENT_VERSION:
                    raise ValueError(f"version {event.v} is not known")  # noqa: TRY301 - as any other poison
                events.append(event)
            except (ValueError, RecursionError) as error:  # msgspec's included
                poison.append(Poison(record, f"{type(error).__name__}: {error}"))
        async with self._database.transaction() as connection:
            await self._positions.advance_past(connection, GROUP, taken)
            for event in events:
                email_key = await find_email_key(connection, event.account_id)
                if email_key is not None:
                    await insert_notice(connection, _notice_of(event, email_key, self._clock.now()))
            await dead_letter(self._event_log, poison)


def _notice_of(event: WebhookDisabled, email_key: str, at: datetime) -> Notice:
    facts = {
        "host": event.host,
        "why": _WHY[event.reason],
        "webhook_id": str(event.webhook_id),
        "disabled_at": rfc3339(event.disabled_at),
    }
    return Notice(event.event_id, "webhook_disabled", email_key, facts, at)
