"""A program that reports 5,000 calls, and may be killed anywhere.

It remembers how far it has come, as any program must: after a group of calls is on disk, and not before. What
    it did
after that it does again, under the same ids.
"""

import sys
import time
from pathlib import Path

from llmring.api import SyncAPIService

TOTAL, GROUP = 5000, 25


def main(url: str, key: str, queue: str, notes: Path) -> None:
    done = int(notes.read_text()) if notes.exists() else 0
    with SyncAPIService(url, key, queue_path=queue, batch_size=40, flush_interval_s=0.5) as api:
        for number in range(done, TOTAL):
            record = {"model": "openai:gpt-4o-mini", "input_tokens": number, "origin": "survivor"}
            api.queue_usage(**record, idempotency_key=f"call-{number}")
            time.sleep(0.001)
            if number % GROUP == GROUP - 1:
                assert api.persist(timeout_s=30)
                temporary = notes.with_suffix(".new")
                temporary.write_text(str(number + 1))
                temporary.replace(notes)
        state = api.flush(timeout_s=120)
    assert (state.pending, state.refused, state.dropped) == (0, 0, 0), state


main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
