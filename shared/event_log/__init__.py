"""Durable topics of ordered records: one port, on Postgres (embedded) or on Kafka.

The implementations are imported from their own packages, so that a process loads the driver it uses.
"""

from shared.event_log.consumer import run_consumer
from shared.event_log.dead_letter import Poison, dead_letter
from shared.event_log.port import (
    MAX_RECORD_BYTES,
    EventLog,
    FencedError,
    Headers,
    Position,
    PositionLostError,
    Positions,
    Record,
    Slice,
    StoredRecord,
    Subscription,
    TopicState,
)
from shared.event_log.positions import PostgresPositions

__all__ = [
    "MAX_RECORD_BYTES",
    "EventLog",
    "FencedError",
    "Headers",
    "Position",
    "Poison",
    "PositionLostError",
    "Positions",
    "PostgresPositions",
    "Record",
    "Slice",
    "StoredRecord",
    "Subscription",
    "TopicState",
    "dead_letter",
    "run_consumer",
]
