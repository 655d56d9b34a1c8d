"""`python -m bench.registry_filters`: how long a filtered read takes in a registry of 3,000 models.

Every request has filters that nobody sent before, so that no answer is at hand. Readers ask over HTTP, one
after the other on a few connections, first in quiet, then while a model is published about every second.
"""

import argparse
import http.client
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from bench.registry_server import operator_headers, run_registry
from shared.contracts.registry import CAPABILITIES

MODELS: Final = 3_000
PROVIDERS: Final = 47
MOST_MS: Final = 50.0
CODINGS: Final = ("identity", "gzip", "br", "zstd")


def make_models(rng: random.Random) -> list[dict[str, Any]]:
    """Models as different from each other as real ones are."""
    models = []
    for number in range(MODELS):
        capabilities = {field: rng.random() < 0.6 for field in CAPABILITIES.values()}
        prices = {
            f"dollars_per_million_tokens_{name}": rng.randrange(1, 9999) / 100
            for name in ("input", "output", "cached_input", "cache_write_5m", "input_long_context")
        }
        models.append(
            {
                "provider": f"provider-{number % PROVIDERS}",
                "model_name": f"model-{rng.randrange(16**6):06x}-{number}",
                "description": " ".join(f"{rng.randrange(16**5):05x}" for _ in range(10)),
                "model_aliases": [f"alias-{number}"],
                "max_input_tokens": rng.randrange(1_000_000),
                "max_output_tokens": rng.randrange(100_000),
                "long_context_threshold_tokens": 200_000,
                "is_active": rng.random() < 0.8,
                **capabilities,
                **prices,
            }
        )
    return models


def list_queries(rng: random.Random) -> Iterator[str]:
    """Filters without end, each once, from those that leave everything to those that leave little."""
    seen: set[str] = set()
    while True:
        wanted: dict[str, str] = {}
        if rng.random() < 0.6:
            chosen = rng.sample(range(PROVIDERS), rng.randrange(1, PROVIDERS))
            wanted["providers"] = ",".join(f"provider-{each}" for each in chosen)
        if rng.random() < 0.6:
            wanted["capabilities"] = ",".join(rng.sample(sorted(CAPABILITIES), rng.randrange(1, 4)))
        if rng.random() < 0.5:
            wanted["active"] = "true"
        query = urlencode(wanted)
        if wanted and query not in seen:
            seen.add(query)
            yield query


class Readers:
    """Ask on a few connections, each request with other filters."""

    def __init__(self, address: str, connections: int) -> None:
        self._address = address
        self._connections = connections
        self._queries = list_queries(random.Random(1))
        self._taking = threading.Lock()

    def read(self, coding: str, requests: int) -> list[float]:
        """How long each request took, in milliseconds."""
        took_ms: list[float] = []
        left = [requests]

        def run() -> None:
            connection = http.client.HTTPConnection(self._address)
            while True:
                with self._taking:
                    if left[0] == 0:
                        return
                    left[0] -= 1
                    query = next(self._queries)
                started = time.perf_counter()
                connection.request("GET", f"/registry.json?{query}", headers={"Accept-Encoding": coding})
                answer = connection.getresponse()
                answer.read()
                took_ms.append((time.perf_counter() - started) * 1000)
                assert answer.status == 200, answer.status

        threads = [threading.Thread(target=run) for _ in range(self._connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(took_ms) == requests, "a reader failed"
        return took_ms


def publish(address: str, body: dict[str, Any]) -> str:
    """Publish, and give the version."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", "/registry/versions", json.dumps(body), operator_headers())
    answer = connection.getresponse()
    found = json.loads(answer.read())
    assert answer.status == 201, found
    version: str = found["version"]
    return version


def publish_until(stop: threading.Event, address: str, models: list[dict[str, Any]], done: list[str]) -> None:
    """Publish one model after another, about one a second."""
    for number, model in enumerate(models):
        if stop.wait(1.0):
            return
        done.append(publish(address, {"models": [{**model, "max_output_tokens": number}]}))


def main() -> None:
    """Measure, print and write `bench/out/registry_filters.json`; exits 1 where it takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="for each coding")
    parser.add_argument("--connections", type=int, default=2)
    options = parser.parse_args()
    models = make_models(random.Random(0))
    found: dict[str, list[float]] = {}
    cpu_ms: dict[str, float] = {}
    with run_registry("services") as registry:
        address = urlsplit(registry.url).netloc
        publish(address, {"mode": "replace", "confirm": True, "models": models})
        readers = Readers(address, options.connections)
        readers.read("identity", 20)
        for coding in CODINGS:
            before_s = registry.cpu_s()
            found[coding] = readers.read(coding, options.requests)
            cpu_ms[coding] = (registry.cpu_s() - before_s) * 1000 / options.requests
        stop, done = threading.Event(), list[str]()
        publisher = threading.Thread(target=publish_until, args=(stop, address, models, done))
        publisher.start()
        for coding in CODINGS:
            found[f"{coding}, publishing"] = readers.read(coding, options.requests)
        stop.set()
        publisher.join()
    print(f"GET /registry.json?..., {MODELS} models, {options.connections} connections, no filters twice;")
    print(f"{len(done)} publishes beside the second half")
    slow = []
    for name, took_ms in found.items():
        cuts = statistics.quantiles(took_ms, n=100)
        cpu = f"   {cpu_ms[name]:4.1f} ms of processor" if name in cpu_ms else ""
        print(
            f"  {name:22} p50 {cuts[49]:5.1f} ms   p99 {cuts[98]:5.1f} ms   worst {max(took_ms):5.1f} ms{cpu}"
        )
        slow += [name] if cuts[98] > MOST_MS else []
    out = Path(__file__).parent / "out" / "registry_filters.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"publishes": len(done), "cpu_ms": cpu_ms, "took_ms": found}))
    if slow:
        sys.exit(f"p99 above {MOST_MS} ms: {'; '.join(slow)}")


if __name__ == "__main__":
    main()
