"""`make bench-production`: the whole production pipeline on one machine, from the request to the receipt.

Kafka, Postgres, Redis, the gateway, each service and each consumer are processes of their own, all on the
same cores as the load. Told are the rate at which records are accepted, the rate at which they are also
stored and receipted, and what share of the processor each stage took.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.log_throughput import BODY, call, measure, new_account
from bench.servers import run_postgres
from tests.production.processes import Deployment
from tests.servers.session import build_process

BATCH = 100


class Share(NamedTuple):
    """What one stage used, in seconds of processor time."""

    name: str
    used_s: float


def cpu_s(process: psutil.Process) -> float:
    """Processor time of a process and of all that it started, ended or not."""
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            used = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return float(total)


def stages(deployment: Deployment, servers: dict[str, psutil.Process]) -> list[Share]:
    """Where the processor time has gone up to now."""
    found = [Share(name, cpu_s(process)) for name, process in servers.items()]
    for name, process in deployment.processes.items():
        assert process.process is not None
        found.append(Share(name, cpu_s(psutil.Process(process.process.pid))))
    return found


def receipted(url: str, key: str) -> int:
    """How many receipts the account has: the sequence is gapless, so the newest one tells."""
    newest = call(f"{url}/api/v1/receipts?limit=1", "GET", key, None)["receipts"]
    return int(newest[0]["payload"]["account_sequence"]) if newest else 0


def send_batches(url: str, key: str, seconds: float, sent: list[int]) -> None:
    """Batches, one after the other, until the time is over."""
    until = time.monotonic() + seconds
    body = {"logs": [{**BODY, "origin": f"o{number % 10}"} for number in range(BATCH)]}
    while time.monotonic() < until:
        call(f"{url}/api/v1/log/batch", "POST", key, body)
        sent.append(BATCH)


def run(deployment: Deployment, servers: dict[str, psutil.Process], options: argparse.Namespace) -> None:
    """Both kinds of load, one after the other, each followed until everything is receipted."""
    url = deployment.url
    operator = deployment.run("keys", "create", "--operator")
    for kind in ("single", "batches"):
        keys = [new_account(url, operator) for _ in range(options.accounts)]
        call(f"{url}/api/v1/log", "POST", keys[0], BODY)
        before, began = stages(deployment, servers), time.monotonic()
        if kind == "single":
            done = measure(url, keys[0], BODY, options.connections, options.seconds)
            print(f"\n{kind}: p50 {done.p50_ms:.1f} ms, p99 {done.p99_ms:.1f} ms, {done.failures} failures")
        else:
            sent: list[int] = []
            threads = [
                threading.Thread(target=send_batches, args=(url, key, options.seconds, sent)) for key in keys
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(f"\n{kind} of {BATCH}, {len(keys)} at a time")
        accepted_s = time.monotonic() - began
        records = settle(url, keys)
        whole_s = time.monotonic() - began
        print(f"  accepted: {records / accepted_s:,.0f} records/s in {accepted_s:.1f} s")
        print(f"  accepted, rated, stored, receipted: {records / whole_s:,.0f} records/s in {whole_s:.1f} s")
        report(before, stages(deployment, servers), records, whole_s)


def settle(url: str, keys: list[str]) -> int:
    """Wait until all that was accepted is receipted; how many records that were."""
    total = 0
    for key in keys:
        deadline = time.monotonic() + 300
        while True:
            stats = call(f"{url}/api/v1/stats", "GET", key, None)
            count = int(stats["total_requests"])
            if stats["complete"] and receipted(url, key) >= count:
                break
            assert time.monotonic() < deadline, f"not settled: {json.dumps(stats)[:200]}"
            time.sleep(0.1)
        total += count
    return total


def report(before: list[Share], after: list[Share], records: int, whole_s: float) -> None:
    """Print each stage's share."""
    used = [Share(b.name, b.used_s - a.used_s) for a, b in zip(before, after, strict=True)]
    total = sum(each.used_s for each in used)
    print(f"  {'stage':<10} {'share':>6} {'us/record':>10}")
    for each in sorted(used, key=lambda share: -share.used_s):
        print(f"  {each.name:<10} {each.used_s / total:>6.0%} {each.used_s / records * 1e6:>10.0f}")
    print(f"  {'together':<10} {'':>6} {total / records * 1e6:>10.0f}   ({total / whole_s:.2f} cores)")


def main() -> None:
    """Start everything, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--accounts", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmring-bench-") as name, run_postgres() as create:
        folder = Path(name)
        kafka = build_process("kafka", folder / "kafka", durable=True)
        redis = build_process("redis", folder / "redis", durable=True)
        try:
            kafka.start()
            redis.start()
            postgres = create("llmring")
            deployment = Deployment(
                folder,
                postgres=postgres,
                kafka=kafka.address,
                redis=f"redis://{redis.address}/0",
                LLMRING_LOG_LEVEL="warning",
            )
            servers = {
                "kafka": psutil.Process(int(kafka.handle()["pid"])),
                "redis": psutil.Process(int(redis.handle()["pid"])),
                "postgres": postmaster(),
            }
            try:
                deployment.start()
                run(deployment, servers, options)
            finally:
                deployment.stop()
        finally:
            kafka.destroy()
            redis.destroy()


def postmaster() -> psutil.Process:
    """The Postgres of this measurement: the newest server process of the machine."""
    found: list[Any] = [
        each
        for each in psutil.process_iter(["name", "cmdline", "create_time"])
        if each.info["name"] == "postgres" and "-D" in (each.info["cmdline"] or [])
    ]
    if not found:
        sys.exit("no Postgres is running")
    newest: psutil.Process = max(found, key=lambda each: each.info["create_time"])
    return newest


if __name__ == "__main__":
    main()
