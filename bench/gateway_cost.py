"""`make bench-gateway`: what authentication and limits cost, as a ratio of the same hop without them.

Every gateway is a process of its own before an empty upstream; of each pair one has its admission switched to
let everything pass, and both do all else. `production` forwards over HTTP and counts in Redis, `over http`
counts in memory, and `in process` calls the upstream as the embedded mode does. Each round asks all of them
in turns, so that what else the machine does weighs on all. `wrk` makes the load: one log with one key, posted
again and again.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import psutil

from bench.log_throughput import measure
from bench.servers import run_server
from tests.servers.process import find_free_port
from tests.servers.session import build_process

NEEDED: Final = 0.75
HOPS: Final = ("production", "over http")
"""Where the ratio must be reached: there the gateway has a way to the service."""

KEY: Final = "llmr_pk_0123456789abcdef0123456789abcdef0123456789abcdef"
BODY: Final = {"model": "gpt-4o-mini", "provider": "openai", "input_tokens": 1200, "output_tokens": 340}
_PSUTIL: Any = psutil  # its functions carry no annotations


class Gateways:
    """The processes by name, and the processor time that each has taken."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.urls: dict[str, str] = {}
        self._processes: dict[str, Any] = {}

    def start(self, name: str, *arguments: str) -> str:
        """Start one, and tell its URL."""
        port = find_free_port()
        url = f"http://127.0.0.1:{port}"
        role = "upstream" if name == "upstream" else "gateway"
        command = [sys.executable, "-m", "bench.gateway_process", role, "--port", str(port), *arguments]
        log = self._folder / name.replace(" ", "-")
        self._stack.enter_context(run_server(command, {}, url, log, health="/health/live"))
        self.urls[name] = url
        [self._processes[name]] = [
            child for child in _PSUTIL.Process().children() if str(port) in child.cmdline()
        ]
        return url

    def cpu_s(self, name: str) -> float:
        """What it has taken so far."""
        times = self._processes[name].cpu_times()
        return float(times.user + times.system)


def main() -> None:
    """Measure, print and write `bench/out/gateway_cost.json`; exits 1 where the ratio of a hop is too low."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed to make the load: apt-get install wrk")
    rates: dict[str, list[float]] = {}
    cpu_us: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="llmring-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        redis = build_process("redis", folder / "redis", durable=False)
        redis.start()
        stack.callback(redis.destroy)
        gateways = Gateways(stack, folder)
        upstream = ["--upstream", gateways.start("upstream")]
        keys = ["--keys", KEY]
        pairs = {
            "production": (["--redis", f"redis://{redis.address}/0", *upstream], upstream),
            "over http": (upstream, upstream),
            "in process": ([], []),
        }
        for each, (whole, bare) in pairs.items():
            gateways.start(each, *keys, *whole)
            gateways.start(f"{each}, open", *keys, *bare, "--open")
        asked = [each for each in gateways.urls if each != "upstream"]
        for number in range(options.rounds + 1):
            for each in asked:
                before = gateways.cpu_s(each)
                seconds = options.seconds if number else 1
                run = measure(gateways.urls[each], KEY, BODY, options.connections, seconds)
                assert run.failures == 0, (each, run)
                if number:  # the first is for warming up
                    rates.setdefault(each, []).append(run.requests_per_s)
                    used_us = (gateways.cpu_s(each) - before) * 1e6 / (run.requests_per_s * seconds)
                    cpu_us.setdefault(each, []).append(used_us)
    ratios = {
        each: statistics.median(
            whole / bare for whole, bare in zip(rates[each], rates[f"{each}, open"], strict=True)
        )
        for each in pairs
    }
    print(f"POST /api/v1/log, {options.connections} connections, {options.rounds} rounds")
    for each in pairs:
        bare = f"{each}, open"
        rate, bare_rate = statistics.median(rates[each]), statistics.median(rates[bare])
        used, bare_used = statistics.median(cpu_us[each]), statistics.median(cpu_us[bare])
        needed = f", {NEEDED} needed" if each in HOPS else ""
        print(f"  {each:11} {rate:7.0f} of {bare_rate:7.0f} req/s   ratio {ratios[each]:.2f}{needed}")
        print(f"  {'':11} {used:7.1f} of {bare_used:7.1f} us of processor for each")
    out = Path(__file__).parent / "out" / "gateway_cost.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"ratios": ratios, "rates": rates, "cpu_us": cpu_us}, indent=2))
    if any(ratios[each] < NEEDED for each in HOPS):
        sys.exit("a ratio is below what is needed")


if __name__ == "__main__":
    main()
