"""`make bench-telemetry`: what metrics and traces cost `POST /api/v1/log`, one request in a hundred traced.

Two servers stand side by side: one with all of it, exporting to a collector of this machine over HTTP, and
one without anything that measures (`bench.silent`). They are loaded in short turns, and each turn is compared
with its neighbour, so that what else the machine does weighs on both. Each round has fresh processes, so that
neither has luck with its memory for long. Two figures are told: requests a second under load, and processor
time of the server for a record from its request to its receipt.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.log_throughput import BODY, call, measure, new_account
from bench.servers import run_postgres, run_server
from tests.servers.process import find_free_port

VARIANTS = {"with": [sys.executable, "-m", "services"], "without": [sys.executable, "-m", "bench.silent"]}
_PSUTIL: Any = psutil  # its functions carry no annotations
SAMPLED = 0.01
EXPORT_EVERY_MS = 10_000


class Turn(NamedTuple):
    """One turn of load on one server, until all that it accepted is receipted."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_record: float
    failures: int


class Server:
    """A server under measurement."""

    def __init__(self, url: str, operator_key: str, process: Any) -> None:  # noqa: ANN401 - psutil has no types
        self._url = url
        self._key = new_account(url, operator_key)
        self._process = process

    def settle(self) -> int:
        """Wait until everything accepted is counted and receipted; how many records that are."""
        while True:
            stats = call(f"{self._url}/api/v1/stats", "GET", self._key, None)
            newest = call(f"{self._url}/api/v1/receipts?limit=1", "GET", self._key, None)["receipts"]
            receipts = int(newest[0]["payload"]["account_sequence"]) if newest else 0
            if stats["complete"] and stats["total_requests"] == receipts:
                return receipts
            time.sleep(0.2)

    def load(self, connections: int, seconds: int) -> Turn:
        """One turn."""
        before, used_s = self.settle(), self._cpu_s()
        found = measure(self._url, self._key, BODY, connections, seconds)
        records = self.settle() - before
        cpu_us = (self._cpu_s() - used_s) / records * 1e6
        return Turn(found.requests_per_s, found.p50_ms, found.p99_ms, cpu_us, found.failures)

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def run_variant(name: str, database_url: str, collector_url: str) -> Iterator[Server]:
    """A fresh server, warmed up."""
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="llmring-bench-") as work:
        settings = {
            "LLMRING_DATABASE_URL": database_url,
            "LLMRING_PORT": str(port),
            "LLMRING_DATA_DIR": f"{work}/data",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector_url if name == "with" else "",
            "OTEL_TRACES_SAMPLER_ARG": str(SAMPLED),
            "OTEL_METRIC_EXPORT_INTERVAL": str(EXPORT_EVERY_MS),
        }
        with run_server([*VARIANTS[name], "serve"], settings, url, Path(work) / "log"):
            [process] = [
                child
                for child in _PSUTIL.Process().children()
                if child.environ().get("LLMRING_PORT") == str(port)
            ]
            server = Server(url, (Path(work) / "data" / "operator.key").read_text().strip(), process)
            server.load(32, 1)
            yield server


@contextmanager
def run_collector() -> Iterator[str]:
    """A collector in a process of its own: it reads and decodes what it is sent."""
    command = [sys.executable, "-m", "tests.telemetry.receiver"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure, print and write `bench/out/telemetry_overhead.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="each with fresh processes")
    parser.add_argument("--turns", type=int, default=6, help="of each server in a round")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    turns: dict[str, list[Turn]] = {name: [] for name in VARIANTS}
    with run_postgres() as create, run_collector() as collector_url:
        for number in range(options.rounds):
            with ExitStack() as stack:
                servers = {
                    name: stack.enter_context(run_variant(name, create(f"{name}_{number}"), collector_url))
                    for name in sorted(VARIANTS, reverse=bool(number % 2))
                }
                for turn in range(options.turns):
                    for name in sorted(VARIANTS, reverse=bool(turn % 2)):
                        turns[name].append(servers[name].load(options.connections, options.seconds))
                        figures = (f"{value:9.1f}" for value in turns[name][-1])
                        print(f"  {name:8}", *figures, flush=True)
    report(turns)


def report(turns: dict[str, list[Turn]]) -> None:
    """Print the medians and the overheads, and keep every turn.

    What else the machine does can only lengthen the processor time of a record, never shorten it: so the
    quarter of the turns that was disturbed least is compared too.
    """
    for name, each in turns.items():
        middle = {field: statistics.median(getattr(turn, field) for turn in each) for field in Turn._fields}
        print(
            f"  {name:8} {middle['requests_per_s']:8.0f} req/s   p50 {middle['p50_ms']:6.2f} ms"
            f"   p99 {middle['p99_ms']:6.2f} ms   {middle['cpu_us_per_record']:6.1f} us of processor a record"
            f"   failures {sum(turn.failures for turn in each)}"
        )
    pairs = list(zip(turns["with"], turns["without"], strict=True))
    rate = [1 - on.requests_per_s / off.requests_per_s for on, off in pairs]
    cpu = [on.cpu_us_per_record / off.cpu_us_per_record - 1 for on, off in pairs]
    for what, found in (("the rate", rate), ("the processor time", cpu)):
        low, half, high = statistics.quantiles(found, n=4)
        print(f"  overhead: {half:.1%} of {what} (half of the pairs between {low:.1%} and {high:.1%})")
    calm = {name: statistics.quantiles([t.cpu_us_per_record for t in turns[name]], n=4)[0] for name in turns}
    print(
        f"  of the least disturbed quarters: {calm['with'] / calm['without'] - 1:.1%} of the processor time"
        f" ({calm['without']:.1f} to {calm['with']:.1f} us a record)"
    )
    out = Path(__file__).parent / "out" / "telemetry_overhead.json"
    out.parent.mkdir(exist_ok=True)
    kept = {name: [turn._asdict() for turn in each] for name, each in turns.items()}
    out.write_text(json.dumps({"overhead_rate": rate, "overhead_cpu": cpu, **kept}, indent=2))


if __name__ == "__main__":
    main()
