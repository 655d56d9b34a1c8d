"""Looking at everything that a deployment depends on, one by one."""

from collections.abc import AsyncIterator, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from services.auth.mail.carriers import SmtpCarrier
from services.cli.event_log import list_schemas
from services.cli.reach import reach_event_log
from services.cli.settings import ProcessSettings
from services.receipts.cosignatures import Cosignatures
from services.receipts.policy import parse_policy
from services.receipts.prove import Proving
from shared.contracts.topics import TOPICS, USAGE_LOGGED
from shared.errors import LLMRingError, NotFoundError, UnavailableError
from shared.event_log.port import EventLog, TopicState
from shared.postgres import MigrationError, list_pending, open_database
from shared.redis import open_redis
from shared.runtime.front import HEALTH_PATH, Checks
from shared.web.http_upstream import HttpUpstream

Status = Literal["ok", "note", "problem"]

ENOUGH_COPIES: Final = 3
_REDIS_ATTEMPTS: Final = 3
_checks_decoder: Final = msgspec.json.Decoder(Checks)


class Look(NamedTuple):
    """What was seen of one dependency.

    Attributes:
        status: `note` is for what works, and is worth knowing.
    """

    name: str
    status: Status
    detail: str


async def look_at_dependencies(settings: ProcessSettings, database_url: str) -> AsyncIterator[Look]:
    """Every dependency that the settings name, as it is now."""
    yield await _look_at_database(settings, database_url)
    try:
        async with reach_event_log(settings, database_url) as event_log:
            yield Look("event log", "ok", settings.kafka_bootstrap or "in Postgres")
            for topic, partitions in TOPICS.items():
                yield await _look_at_topic(event_log, topic, partitions)
    except UnavailableError as error:
        yield Look("event log", "problem", _reason(error))
    if settings.receipts_witnesses:
        async for look in _look_at_witnesses(settings, database_url):
            yield look
    if settings.redis_url:
        yield await _look_at_redis(settings.redis_url)
    if settings.smtp_host:
        yield await _look_at_mail(SmtpCarrier(settings.auth), is_plain=settings.smtp_security == "none")
    for name, url in settings.urls.items():
        yield await _look_at_service(name, url)


async def _look_at_database(settings: ProcessSettings, url: str) -> Look:
    try:
        pending = await list_pending(url, list_schemas(settings))
    except (UnavailableError, MigrationError) as error:
        return Look("database", "problem", _reason(error))
    if pending:
        return Look("database", "problem", f"not applied yet: {', '.join(pending)}; run llmring-api migrate")
    return Look("database", "ok", "all migrations are applied")


async def _look_at_witnesses(settings: ProcessSettings, url: str) -> AsyncIterator[Look]:
    policy = parse_policy(settings.receipts)
    try:
        database = await open_database(url, application_name="llmring-api doctor", max_size=1)
        try:
            described = await Cosignatures(database, Proving(database), policy).describe()
        finally:
            await database.close()
    except LLMRingError as error:
        yield Look("witnesses", "problem", _reason(error))
        return
    for each in described.witnesses:
        place = f"{each.tree_size} of {described.tree_size} leaves"
        status: Status = "note" if each.overdue else "ok"
        yield Look(
            f"witness {each.name}", status, f"overdue: has cosigned {place}" if each.overdue else place
        )


async def _look_at_topic(event_log: EventLog, topic: str, partitions: int) -> Look:
    try:
        state = await event_log.describe(topic)
    except NotFoundError:
        return Look(topic, "problem", "there is no such topic; run llmring-api migrate")
    except UnavailableError as error:
        return Look(topic, "problem", _reason(error))
    return judge_topic(topic, partitions, state)


def judge_topic(topic: str, partitions: int, state: TopicState) -> Look:
    """What to say of a topic that must have so many partitions."""
    if state.partitions != partitions:
        return Look(topic, "problem", f"{state.partitions} partitions instead of {partitions}")
    if state.copies is None or state.in_sync is None or state.must_be_in_sync is None:
        return Look(topic, "ok", f"{partitions} partitions")
    keeps_all = topic != USAGE_LOGGED or state.retention is None
    judgements: tuple[tuple[bool, Status, str], ...] = (
        (state.in_sync < state.must_be_in_sync, "problem", "nothing is accepted"),
        (
            state.copies >= ENOUGH_COPIES and state.must_be_in_sync < ENOUGH_COPIES - 1,
            "problem",
            "an acknowledgement may stand on one copy alone",
        ),
        (state.in_sync < state.copies, "note", "a copy is behind"),
        (state.copies < ENOUGH_COPIES, "note", f"fewer than {ENOUGH_COPIES} copies"),
        (not keeps_all, "note", f"what is older than {state.retention} cannot be rebuilt"),
    )
    told = (
        f"{partitions} partitions, {state.copies} copies, {state.in_sync} in sync, "
        f"{state.must_be_in_sync} must be"
    )
    for applies, status, why in judgements:
        if applies:
            return Look(topic, status, f"{told}: {why}")
    return Look(topic, "ok", told)


async def _look_at_redis(url: str) -> Look:
    """The client has a short time limit, and the first command pays for the connection."""
    try:
        redis = await open_redis(url)
    except ValueError as error:
        return Look("redis", "problem", str(error))
    why = ""
    try:
        for _ in range(_REDIS_ATTEMPTS):
            try:
                told = await redis.call("INFO", "memory")
            except UnavailableError as error:
                why = _reason(error)
            else:
                lines = bytes(told).decode("latin-1").split()
                return _judge_redis(dict(line.split(":", 1) for line in lines if ":" in line))
    finally:
        await redis.close()
    return Look("redis", "problem", why)


def _judge_redis(memory: Mapping[str, str]) -> Look:
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and memory.get("maxmemory") != "0":
        # It does not tell what it drops, and it alone knows idempotency keys while Postgres is away.
        return Look("redis", "note", f"maxmemory-policy is {policy}: set noeviction, so that no key is lost")
    return Look("redis", "ok", "answers")


async def _look_at_mail(carrier: SmtpCarrier, *, is_plain: bool) -> Look:
    name = f"mail at {carrier.address}"
    try:
        await carrier.check()
    except UnavailableError as error:
        return Look(name, "problem", _reason(error))
    if is_plain:
        return Look(name, "note", "answers; links that set passwords go there unencrypted")
    return Look(name, "ok", "answers, with a certificate that is trusted")


async def _look_at_service(name: str, url: str) -> Look:
    service = HttpUpstream(url)
    try:
        answer = await service.call("GET", HEALTH_PATH)
        checks: Mapping[str, bool] = _checks_decoder.decode(answer.body).checks
    except (LLMRingError, msgspec.MsgspecError) as error:
        return Look(f"{name} at {url}", "problem", _reason(error))
    finally:
        await service.close()
    missing = [each for each, answers in checks.items() if not answers]
    if missing:
        return Look(f"{name} at {url}", "problem", f"does not reach: {', '.join(missing)}")
    return Look(f"{name} at {url}", "ok", f"reaches: {', '.join(checks)}")


def _reason(error: Exception) -> str:
    detail = error.detail if isinstance(error, LLMRingError) else str(error)
    return f"{detail} {error.__cause__}" if error.__cause__ else detail
