"""The library's clients, set up for billing.

Its defaults would lose records: acknowledgement by the leader alone, no idempotence, a start at the newest
record, positions committed by a timer.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import aiokafka
import aiokafka.admin
from aiokafka.errors import KafkaError, KafkaTimeoutError

from shared.errors import UnavailableError
from shared.event_log.kafka.brokers import Brokers
from shared.event_log.kafka.refusals import tell_refusals
from shared.event_log.port import MAX_RECORD_BYTES

_LIBRARY: Final[Any] = aiokafka  # its functions carry no annotations

PRODUCER: Final[dict[str, Any]] = {
    "acks": "all",  # every replica that is in sync has it
    "enable_idempotence": True,  # the library's own repeats make no doubles
    "compression_type": "lz4",
    "linger_ms": 0,  # a lane gathers what arrives during a round trip; waiting longer gains nothing
    "max_batch_size": MAX_RECORD_BYTES,
    "max_request_size": 1_048_576,  # the broker's own default
    "request_timeout_ms": 4_000,
    "retry_backoff_ms": 50,
}

CONSUMER: Final[dict[str, Any]] = {
    "auto_offset_reset": "earliest",
    "enable_auto_commit": False,
    "fetch_max_wait_ms": 500,
    "max_partition_fetch_bytes": 2 * 1024 * 1024,
    "request_timeout_ms": 10_000,
    "retry_backoff_ms": 250,
}

GROUP: Final[dict[str, Any]] = CONSUMER | {
    "session_timeout_ms": 6_000,  # a member that has died hands its partitions over after this
    "heartbeat_interval_ms": 1_500,
    "max_poll_interval_ms": 300_000,
}

ADMIN: Final[dict[str, Any]] = {"request_timeout_ms": 5_000}
_CLOSE_SECONDS: Final = 5.0


tell_refusals()


# The library carries no annotations: these names say what is meant, and nothing more could be checked.
Producer: TypeAlias = Any
Consumer: TypeAlias = Any
Admin: TypeAlias = Any


def build_producer(brokers: Brokers) -> Producer:
    """A producer that is not started."""
    return _LIBRARY.AIOKafkaProducer(**brokers.options, **PRODUCER)


def build_reader(brokers: Brokers) -> Consumer:
    """A consumer outside any group, not started."""
    return _LIBRARY.AIOKafkaConsumer(**brokers.options, **CONSUMER)


def build_member(brokers: Brokers, group: str) -> Consumer:
    """A consumer of a group, not started."""
    return _LIBRARY.AIOKafkaConsumer(**brokers.options, group_id=group, **GROUP)


async def start_admin(brokers: Brokers) -> Admin:
    """A client that creates and describes topics."""
    admin = _LIBRARY.admin.AIOKafkaAdminClient(**brokers.options, **ADMIN)
    try:
        await admin.start()
    except BaseException:
        await close_admin(admin)
        raise
    return admin


async def close_admin(admin: Admin) -> None:
    """Close it, whether its broker is there or not."""
    with contextlib.suppress(KafkaError, OSError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await admin.close()


@contextmanager
def translated() -> Iterator[None]:
    """Let what a later call may cure leave as `UnavailableError`.

    Raises:
        UnavailableError: the broker is away, or a partition has no leader at the moment.
    """
    try:
        yield
    except KafkaError as error:
        # The library does not call its own time-out worth another try.
        if error.retriable or isinstance(error, KafkaTimeoutError):
            raise UnavailableError("Kafka is not available at the moment.") from error
        raise
    except OSError as error:  # TimeoutError is one of these
        raise UnavailableError("Kafka is not available at the moment.") from error
