"""Turn events into messages and deliveries, in the transaction of the consumer's position.

So an event is applied once, whoever reads it twice; and since a message's id derives from what it tells, one
that was announced twice is told of once.
"""

from collections.abc import Sequence
from typing import Final

from services.webhooks.enqueue import enqueue
from services.webhooks.store.messages import Message
from shared.clock import Clock
from shared.event_log.port import EventLog
from shared.event_log.positions import PostgresPositions
from shared.event_log.take import Read, Taker
from shared.postgres import Connection, Database

GROUP: Final = "webhooks"

MAX_RECORDS: Final = 20
"""In one slice: a registry version may have a hundred messages."""


def build_taker(
    topic: str,
    read: Read[Sequence[Message]],
    *,
    database: Database,
    event_log: EventLog,
    positions: PostgresPositions,
    clock: Clock,
) -> Taker[Sequence[Message]]:
    """Takes a topic, and stores a delivery of each message for each endpoint that wants it.

    Args:
        topic: what is read.
        read: the messages that an event makes.
        database: of the schema `webhooks`.
        event_log: gives the topic.
        positions: of that schema.
        clock: tells what is due from now on.
    """

    async def apply(connection: Connection, read: Sequence[Sequence[Message]]) -> None:
        await enqueue(connection, [message for messages in read for message in messages], at=clock.now())

    return Taker(
        database=database,
        event_log=event_log,
        positions=positions,
        group=GROUP,
        topic=topic,
        max_records=MAX_RECORDS,
        read=read,
        apply=apply,
    )
