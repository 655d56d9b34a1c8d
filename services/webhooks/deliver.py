"""Deliver messages to endpoints: several processes at once, a bounded number at a time, until each is taken.

A delivery is claimed for a while, attempted without any lock or transaction, and what came of it written
down in one transaction. Whoever dies in between loses the claim, and another process attempts it again with
the same id: at least once.
"""

import asyncio
import logging
from collections import Counter
from datetime import timedelta
from time import perf_counter
from typing import Final
from uuid import UUID

from services.webhooks.disable import disable
from services.webhooks.schedule import find_delay, parse_retry_after
from services.webhooks.sealing_key import SealingKey
from services.webhooks.settings import WebhooksSettings
from services.webhooks.signing import sign_message
from services.webhooks.store.deliveries import (
    Attempt,
    Claimed,
    claim_deliveries,
    find_waiting_since,
    finish_attempt,
    give_up,
)
from services.webhooks.store.endpoints import clear_failing, note_failing
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.event_log.port import EventLog
from shared.postgres import Database
from shared.stopping import is_set_within
from shared.telemetry.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS, WEBHOOK_WAITING_SECONDS
from shared.web.guarded import GuardedOutbound, Reply

LOOK_EVERY_S: Final = 0.5
MEASURE_EVERY_S: Final = 15.0
AFTER_OUTAGE_S: Final = 2.0

KEPT_BYTES: Final = 1_024
"""What the log shows of an answer."""

CLAIM_MARGIN: Final = timedelta(seconds=30)
"""How much longer a claim lasts than an attempt may take: the database may be slow to take its outcome."""

INTERNAL_ERROR: Final = "There was an internal error."

_FIRST: Final = UUID(int=0)
_log = logging.getLogger(__name__)


class Deliverer:
    """One process's part of the work.

    Args:
        database: of the schema `webhooks`.
        event_log: takes `webhooks.disabled`. It must not take its connections from `database`: the event is
            appended while a transaction is open.
        sealing_key: opens secrets.
        outbound: calls endpoints.
        clock: tells what is due, and dates attempts.
        settings: bounds.
        version: of this program, for the user agent.
    """

    def __init__(
        self,
        *,
        database: Database,
        event_log: EventLog,
        sealing_key: SealingKey,
        outbound: GuardedOutbound,
        clock: Clock,
        settings: WebhooksSettings,
        version: str,
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._sealing_key = sealing_key
        self._outbound = outbound
        self._clock = clock
        self._settings = settings
        self._lease = timedelta(seconds=settings.timeout_s) + CLAIM_MARGIN
        self._disable_after = timedelta(seconds=settings.disable_after_s)
        self._headers = {"content-type": "application/json", "user-agent": f"LLMRing-Webhooks/{version}"}
        self._in_flight: set[asyncio.Task[None]] = set()
        self._busy: Counter[UUID] = Counter()
        self._after = _FIRST
        self._finished = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop, and finish what is in flight then."""
        reported = False
        measured_at = float("-inf")
        try:
            while not stop.is_set():
                pause_s = LOOK_EVERY_S
                try:
                    started = await self.start_due()
                    if perf_counter() > measured_at + MEASURE_EVERY_S:
                        measured_at = perf_counter()
                        await self._measure()
                    reported = False
                    if started:
                        continue
                except UnavailableError as error:
                    if not reported:
                        _log.warning("webhooks are not delivered at the moment: %s", error.detail)
                    reported = True
                    pause_s = AFTER_OUTAGE_S
                await self._wait(stop, pause_s)
        finally:
            await self.finish()

    async def start_due(self) -> int:
        """Claim what is due, as far as there is room, and begin to deliver it; says how many.

        Raises:
            UnavailableError: the database is away.
        """
        room = self._settings.at_once - len(self._in_flight)
        if room <= 0:
            return 0
        now = self._clock.now()
        async with self._database.transaction() as connection:
            claimed = await claim_deliveries(
                connection,
                at=now,
                until=now + self._lease,
                after=self._after,
                busy=list(self._busy),
                limit=room,
                limit_per_endpoint=self._settings.at_once_per_endpoint,
            )
        # The next round begins after the last endpoint of this one, so that each has its turn.
        begins_anew = self._after == _FIRST
        self._after = max((each.endpoint_id for each in claimed), default=_FIRST)
        for each in claimed:
            self._begin(each)
        if not claimed and not begins_anew:
            return await self.start_due()
        return len(claimed)

    async def finish(self) -> None:
        """Wait for what is in flight."""
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    def _begin(self, claimed: Claimed) -> None:
        task = asyncio.create_task(self._deliver(claimed), name=f"webhook-{claimed.message_id}")
        self._in_flight.add(task)
        self._busy[claimed.endpoint_id] += 1
        task.add_done_callback(lambda done: self._end(done, claimed.endpoint_id))

    def _end(self, task: "asyncio.Task[None]", endpoint_id: UUID) -> None:
        self._in_flight.discard(task)
        self._busy[endpoint_id] -= 1
        if not self._busy[endpoint_id]:
            del self._busy[endpoint_id]
        self._finished.set()

    async def _wait(self, stop: asyncio.Event, seconds: float) -> None:
        """Until something that was in flight makes room, but no longer than this; it ends early at a stop."""
        self._finished.clear()
        await is_set_within(self._finished if self._in_flight else stop, seconds)

    async def _deliver(self, claimed: Claimed) -> None:
        try:
            await self._attempt(claimed)
        except UnavailableError as error:
            _log.warning("what came of message %s cannot be stored: %s", claimed.message_id, error.detail)
        except Exception:
            # One that nobody thought of must not stand in the way of the others; its claim runs out.
            _log.exception("message %s cannot be delivered", claimed.message_id)

    async def _attempt(self, claimed: Claimed) -> None:
        if not claimed.is_wanted:
            async with self._database.connection() as connection:
                await give_up(connection, claimed)
            return
        secret = self._sealing_key.unseal(claimed.secret)
        if secret is None:
            _log.error("the secret of webhook %s cannot be opened with this key", claimed.endpoint_id)
            return
        old = None if claimed.old_secret is None else self._sealing_key.unseal(claimed.old_secret)
        attempted_at = self._clock.now()
        headers = sign_message(
            claimed.message_id, attempted_at, claimed.body, [secret] if old is None else [secret, old]
        )
        reply: Reply | None = None
        error: str | None = None
        started = perf_counter()
        try:
            reply = await self._outbound.post(claimed.url, claimed.body, self._headers | headers)
        except UnavailableError as failure:
            error = failure.detail
        except Exception:
            _log.exception("message %s cannot be sent", claimed.message_id)
            error = INTERNAL_ERROR
        took_s = perf_counter() - started
        WEBHOOK_SECONDS.observe(took_s)
        attempt = Attempt(
            attempted_at=attempted_at,
            duration_ms=round(took_s * 1_000),
            http_status=None if reply is None else reply.status,
            error=error,
            response=None if reply is None else _show(reply.body),
        )
        try:
            await self._write_down(claimed, attempt, reply)
        except UnavailableError:
            raise
        except Exception:
            # An attempt that is not written down counts for nothing, and would be repeated for ever.
            _log.exception("the answer to message %s cannot be dealt with", claimed.message_id)
            failed = attempt._replace(http_status=None, error=INTERNAL_ERROR, response=None)
            await self._write_down(claimed, failed, None)

    async def _write_down(self, claimed: Claimed, attempt: Attempt, reply: Reply | None) -> None:
        place = (claimed.account_id, claimed.endpoint_id)
        now = self._clock.now()
        taken = reply is not None and 200 <= reply.status < 300
        asked = None if reply is None or taken else parse_retry_after(reply.headers.get("retry-after"), now)
        delay = None if taken else find_delay(claimed.tries + 1, asked)
        status = "delivered" if taken else "failed" if delay is None else "pending"
        async with self._database.transaction() as connection:
            if not await finish_attempt(
                connection, claimed, attempt, status, None if delay is None else now + delay
            ):
                outcome = "lost"
            elif taken:
                await clear_failing(connection, *place)
                outcome = "delivered"
            else:
                since = await note_failing(connection, *place, attempt.attempted_at)
                outcome = "refused" if reply is not None else "unanswered"
                if reply is not None and reply.status == 410:
                    await disable(connection, self._event_log, *place, reason="gone", at=now)
                elif since is not None and now - since >= self._disable_after:
                    await disable(connection, self._event_log, *place, reason="failing", at=now)
        WEBHOOK_ATTEMPTS.labels(outcome).inc()

    async def _measure(self) -> None:
        now = self._clock.now()
        async with self._database.connection() as connection:
            since = await find_waiting_since(connection, now)
        WEBHOOK_WAITING_SECONDS.set(0 if since is None else max(0.0, (now - since).total_seconds()))


def _show(body: bytes) -> str:
    """The beginning of an answer as text that can be stored."""
    return body[:KEPT_BYTES].decode("utf-8", "replace").replace("\0", "�")
