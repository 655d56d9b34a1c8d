"""What the processes of one service share in Redis, and how much each remembers without it."""

from datetime import timedelta
from typing import Final

from services.ingest.claim_cache import ClaimCache
from services.ingest.quota_counter import QuotaCounter
from services.ingest.settings import IngestSettings
from services.ingest.shared_counter import SharedCounter
from shared.redis import Firsts, Marks, Redis

MAX_COUNTED_KEYS: Final = 100_000
MAX_COUNTED_ADDRESSES: Final = 10_000
KEEP_CLAIMS: Final = timedelta(hours=2)
"""How long Redis knows what an idempotency key stands for. Postgres knows it for ever."""


def build_claim_cache(redis: Redis) -> ClaimCache:
    """What idempotency keys stand for, for all processes of the ingest service."""
    return Firsts(redis, "llmring:claim:", KEEP_CLAIMS)


def build_quota_counter(redis: Redis) -> QuotaCounter:
    """What accounts have used of their month, for all processes of the ingest service."""
    return SharedCounter(redis, "llmring:quota:")


def build_marks(redis: Redis) -> Marks:
    """The newest position of each account, for all processes of the ingest service."""
    return Marks(redis, "llmring:newest:", timedelta(seconds=IngestSettings().watermark_s))
