"""`make bench-stats`: how long statistics take over many records: 30 days, 40 models, 20 origins."""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.log_throughput import call, new_account
from bench.servers import run_server
from tests.servers.process import find_free_port

BATCH = 1000


def fill(url: str, key: str, rows: int) -> float:
    """Record so many calls; how many seconds until all are counted."""
    chance = random.Random(1)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    started = time.monotonic()

    def send(seed: int) -> None:
        own = random.Random(seed)
        logs = [
            {
                "provider": "p",
                "model": f"m{own.randrange(40)}",
                "origin": f"o{own.randrange(20)}",
                "input_tokens": own.randrange(10_000),
                "output_tokens": own.randrange(1_000),
                "latency_ms": own.randrange(1, 20_000),
                "cost": own.randrange(1_000_000) / 1_000_000,
                "timestamp": (today - timedelta(seconds=own.randrange(29 * 86_400))).isoformat(),
            }
            for _ in range(BATCH)
        ]
        answer = call(f"{url}/api/v1/log/batch", "POST", key, {"logs": logs})
        assert answer["accepted"] == BATCH

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(send, [chance.getrandbits(32) for _ in range(rows // BATCH)]))
    while call(f"{url}/api/v1/stats", "GET", key, None)["total_requests"] < rows:
        time.sleep(1)
    return time.monotonic() - started


def main() -> None:
    """Fill a fresh embedded server, then time each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmring-bench-") as name:
        work = Path(name)
        work.chmod(0o711)
        url = f"http://127.0.0.1:{find_free_port()}"
        settings = {"LLMRING_PORT": url.rsplit(":", 1)[1], "LLMRING_DATA_DIR": str(work / "data")}
        with run_server([sys.executable, "-m", "services", "serve"], settings, url, work / "log"):
            key = new_account(url, (work / "data" / "operator.key").read_text().strip())
            filled_s = fill(url, key, options.rows)
            rate = options.rows / filled_s
            print(f"{options.rows} records accepted, stored and added up in {filled_s:.0f} s ({rate:.0f}/s)")
            for question in ("", "?origin=o7", "?model=m7&group_by=week", "?timezone=Asia/Kolkata"):
                times = []
                for _ in range(7):
                    started = time.monotonic()
                    answer = call(f"{url}/api/v1/stats{question}", "GET", key, None)
                    times.append((time.monotonic() - started) * 1000)
                found = {
                    "requests": answer["total_requests"],
                    "median_ms": round(statistics.median(times), 1),
                }
                print(f"  GET /api/v1/stats{question:28} {json.dumps(found)}")


if __name__ == "__main__":
    main()
