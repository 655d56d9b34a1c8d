"""`make bench-import`: a million records into embedded mode, the command killed and resumed in the middle.

The records have neither a cost nor an idempotency key. What they cost together is calculated here as well, by
the prices that the server starts with, and compared with its statistics to the last digit.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil

from bench.log_throughput import call, new_account
from bench.servers import run_server
from tests.servers.process import find_free_port

MODEL = "gpt-4o-mini"
INPUT_USD, OUTPUT_USD = Decimal("0.15") / 1_000_000, Decimal("0.60") / 1_000_000
MONTHS = {"start_date": "2026-01-01", "end_date": "2026-10-31", "group_by": "month"}


def write_records(path: Path, count: int) -> tuple[Decimal, int]:
    """A file of records; what they cost, and their input tokens."""
    chance = random.Random(7)
    cost, tokens = Decimal(0), 0
    with path.open("w") as file:
        for number in range(count):
            record: dict[str, Any] = {
                "model": MODEL,
                "provider": "openai",
                "input_tokens": chance.randrange(1, 4000),
                "output_tokens": chance.randrange(500),
                "latency_ms": 812,
                "origin": f"app-{number % 20}",
                "timestamp": f"2026-{1 + number % 10:02d}-{1 + number % 28:02d}T{number % 24:02d}:00:00Z",
                "id_at_origin": f"call-{number}",
            }
            cost += record["input_tokens"] * INPUT_USD + record["output_tokens"] * OUTPUT_USD
            tokens += record["input_tokens"]
            file.write(json.dumps(record) + "\n")
    return cost, tokens


class Watched:
    """A process, and the most memory it was seen to have."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak_bytes = 0

    def look(self) -> None:
        """See how much memory it has."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)


def count_durable(journal: Path) -> int:
    """How many records an import has noted to be durable."""
    if not journal.exists():
        return 0
    count: int = json.loads(journal.read_bytes())["count"]["records"]
    return count


def run_import(
    file: Path, environment: dict[str, str], server: Watched, *, kill_at: int | None = None
) -> tuple[float, int]:
    """Run the command, to its end or until so many records are durable; seconds, and its peak memory."""
    journal = file.with_name(f"{file.name}.import-state")
    command = [sys.executable, "-m", "services", "usage", "import", str(file)]
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment)
    client = Watched(process.pid)
    while process.poll() is None:
        client.look()
        server.look()
        if kill_at is not None and count_durable(journal) >= kill_at:
            process.kill()
            process.wait()
        time.sleep(0.05)
    if kill_at is None and process.returncode:
        sys.exit("the import failed")
    return time.monotonic() - started, client.peak_bytes


def find_server(folder: Path) -> Watched:
    """The process that serves this data directory."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        is_ours = (process.info["environ"] or {}).get("LLMRING_DATA_DIR") == str(folder)
        if is_ours and "serve" in (process.info["cmdline"] or []):
            return Watched(process.pid)
    sys.exit("the server is not there")


def main() -> None:
    """Measure, and say what came of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=1_000_000)
    count = options.parse_args().records
    with tempfile.TemporaryDirectory(prefix="llmring-bench-") as name:
        folder = Path(name)
        file = folder / "records.ndjson"
        cost, tokens = write_records(file, count)
        port = find_free_port()
        url = f"http://127.0.0.1:{port}"
        data = folder / "data"
        settings = {"LLMRING_PORT": str(port), "LLMRING_DATA_DIR": str(data)}
        with run_server([sys.executable, "-m", "services", "serve"], settings, url, folder / "log"):
            key = new_account(url, (data / "operator.key").read_text().strip())
            environment = {**os.environ, "LLMRING_API_URL": url, "LLMRING_API_KEY": key}
            server = find_server(data)
            first_s, first_bytes = run_import(file, environment, server, kill_at=count // 2)
            second_s, second_bytes = run_import(file, environment, server)
            took_s = first_s + second_s
            print(
                f"{count} records in {took_s:.1f} s, killed and resumed in the middle: {count / took_s:.0f}/s"
            )
            print(f"peak memory: command {max(first_bytes, second_bytes) >> 20} MiB, ", end="")
            print(f"server {server.peak_bytes >> 20} MiB")
            started = time.monotonic()
            while True:
                stats = call(
                    f"{url}/api/v1/stats?" + "&".join(f"{k}={v}" for k, v in MONTHS.items()), "GET", key, None
                )
                if stats["complete"]:
                    break
                time.sleep(1)
            print(f"all counted {time.monotonic() - started:.0f} s after its end")
            assert stats["total_requests"] == count, stats["total_requests"]
            assert stats["summary"]["input_tokens"] == tokens
            assert Decimal(str(stats["total_cost"])) == cost, (stats["total_cost"], cost)
            print("requests, tokens and cost are exact")


if __name__ == "__main__":
    main()
