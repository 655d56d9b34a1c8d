"""What can be set of the ingest service."""

import msgspec


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Of the deletion of old records.

    Attributes:
        grace_days: for how long nothing of an account is deleted after its retention became shorter.
        interval_s: how often old records are looked for.
        first_after_s: how long after the start that begins.
    """

    grace_days: int = 7
    interval_s: int = 3600
    first_after_s: int = 60


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; only the command line reads the environment.

    Attributes:
        read_wait_ms: how long a read waits for the caller's own newest record before it answers without it.
        watermark_s: how long Redis keeps the position of an account's newest record, where several processes
            answer reads.
        quota_wait_ms: how long a record waits for its account's count of the month to be begun, before its
            process counts for itself.
        max_skew_s: how far ahead of our clock a record's own time may be.
        rater_batch: the most records that are stored in one transaction.
        budget_slice: the most that one statement looks at, where a new budget is counted from single records.
    """

    read_wait_ms: int = 500
    watermark_s: int = 60
    quota_wait_ms: int = 500
    max_skew_s: int = 300
    rater_batch: int = 500
    budget_slice: int = 50_000
