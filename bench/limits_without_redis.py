"""`make bench-gateway`: limits of three gateways under load, while Redis is killed and comes back empty.

The load asks all three with every key, for more than its limit all the time. Told are failures, how long the
slowest answer took, and the most of one key that passed in any 60 s: with Redis the limit, without it three
times as much at worst, since each gateway then counts for itself.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
import uvloop

from bench.gateway_cost import BODY
from bench.servers import run_server
from shared.limits.port import WINDOW_S
from tests.servers.process import find_free_port
from tests.servers.session import build_process

GATEWAYS: Final = 3


class Seen(NamedTuple):
    """One answer."""

    at: float
    key: str
    status: int
    took_s: float


async def load(urls: list[str], keys: list[str], until: float, pause_s: float, seen: list[Seen]) -> None:
    """Ask every gateway with every key, again and again."""

    async def ask(session: aiohttp.ClientSession, url: str, key: str) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            async with session.post(f"{url}/api/v1/log", json=BODY, headers={"X-API-Key": key}) as answer:
                await answer.read()
            seen.append(Seen(began, key, answer.status, time.monotonic() - began))
            await asyncio.sleep(pause_s)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(ask(session, url, key) for url in urls for key in keys))


def most_in_a_window(seen: list[Seen], key: str, start: float, end: float) -> int:
    """The most of one key that passed in any 60 s within a span of time."""
    passed = sorted(each.at for each in seen if each.key == key and each.status == 200)
    passed = [at for at in passed if start <= at <= end]
    return max((bisect_right(passed, at + WINDOW_S - 1) - i for i, at in enumerate(passed)), default=0)


async def run(
    options: argparse.Namespace, urls: list[str], keys: list[str], redis: object
) -> dict[str, object]:
    """A minute and more with Redis, as long without, and as long with it again."""
    seen: list[Seen] = []
    began = time.monotonic()
    marks = [began + number * options.seconds for number in range(4)]
    loading = asyncio.create_task(load(urls, keys, marks[-1], options.pause_ms / 1000, seen))
    for mark, step in ((marks[1], "kill"), (marks[2], "start")):
        await asyncio.sleep(mark - time.monotonic())
        await asyncio.to_thread(getattr(redis, step))
    await loading
    phases = {}
    for name, (start, end) in zip(("with Redis", "without", "with it again"), pairwise(marks), strict=True):
        within = [each for each in seen if start <= each.at < end]
        took = sorted(each.took_s for each in within)
        phases[name] = {
            "requests": len(within),
            "statuses": dict(Counter(each.status for each in within)),
            "p50_ms": took[len(took) // 2] * 1000,
            "slowest_ms": took[-1] * 1000,
            "most_in_60_s": max(most_in_a_window(within, key, start, end) for key in keys),
        }
    return {
        "phases": phases,
        "failures": sum(each.status >= 500 for each in seen),
        "most_in_60_s": max(most_in_a_window(seen, key, began, marks[-1]) for key in keys),
    }


def main() -> None:
    """Measure, print and write `bench/out/limits_without_redis.json`; exits 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=70, help="of each of the three phases")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--pause-ms", type=int, default=200, help="of each caller between two requests")
    options = parser.parse_args()
    keys = [f"llmr_pk_{number:048x}" for number in range(options.keys)]
    with tempfile.TemporaryDirectory(prefix="llmring-bench-") as name, contextlib.ExitStack() as stack:
        redis = build_process("redis", Path(name) / "redis", durable=False)
        redis.start()
        stack.callback(redis.destroy)
        urls = []
        for number in range(GATEWAYS):
            port = find_free_port()
            urls.append(f"http://127.0.0.1:{port}")
            command = [sys.executable, "-m", "bench.gateway_process", "gateway", "--port", str(port)]
            command += ["--redis", f"redis://{redis.address}/0", "--keys", ",".join(keys)]
            command += ["--limit", str(options.limit)]
            log = Path(name) / f"gateway-{number}"
            stack.enter_context(run_server(command, {}, urls[-1], log, health="/health/live"))
        result = uvloop.run(run(options, urls, keys, redis))
    print(f"{GATEWAYS} gateways, {options.keys} keys with a limit of {options.limit}")
    print(json.dumps(result, indent=2))
    out = Path(__file__).parent / "out" / "limits_without_redis.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2))
    if result["failures"] or result["most_in_60_s"] > GATEWAYS * options.limit:  # type: ignore[operator]
        sys.exit("a bound does not hold")


if __name__ == "__main__":
    main()
