"""Usage that stays on this machine: `LLMRing(use_local_db=True)`."""

import msgspec

from llmring.api.queue import UsageQueue
from llmring.api.settings import default_local_path


def open_kept() -> UsageQueue:
    """The queue that keeps it. It has no sender and no bound."""
    return UsageQueue(None, default_local_path(), max_records=None)


def export_kept(queue: UsageQueue, start: str | None, end: str | None, *, lines: bool) -> str:
    """What a queue without a sender has kept, in a range."""
    kept: list[bytes] = []
    for row in queue.list_records():
        record = msgspec.json.decode(row.body)
        record.setdefault("timestamp", row.stamp)
        at = str(record["timestamp"])
        # RFC 3339 in UTC sorts as text; a day is a prefix of its instants.
        if (start is None or at >= start) and (end is None or at < end or at.startswith(end)):
            kept.append(msgspec.json.encode(record))
    return (b"\n".join(kept) if lines else b"[" + b",".join(kept) + b"]").decode()
