"""What can be set of the ingest service."""

import msgspec


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; only the command line reads the environment.

    Attributes:
        read_wait_ms: how long a read waits for the caller's own newest record before it answers without it.
        watermark_s: how long a caller's newest record is remembered for that.
        max_skew_s: how far ahead of our clock a record's own time may be.
        rater_batch: the most records that are stored in one transaction.
    """

    read_wait_ms: int = 500
    watermark_s: int = 60
    max_skew_s: int = 300
    rater_batch: int = 500
