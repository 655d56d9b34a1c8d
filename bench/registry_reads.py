"""`make bench-registry`: reads of the whole registry, as ratios to an empty handler of the same process.

The process is the registry service as it is run in production, with one empty handler of the same framework
in it. Each round asks for all of them in turns, so that what else the machine does weighs on all. `wrk` makes
the load.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final

from bench.registry_server import run_registry

PATH: Final = "/registry.json"
NEEDED: Final = {"304": 0.7, "gzip": 0.4, "identity": 0.4}


def measure(url: str, headers: dict[str, str], connections: int, seconds: float) -> float:
    """Requests a second; each must be answered."""
    named = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *named, url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx or 3xx" not in text, text
    assert "Socket errors" not in text, text
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert found, text
    return float(found[1])


def main() -> None:
    """Measure, print and write `bench/out/registry_reads.json`; exits 1 where a ratio is too low."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed to make the load: apt-get install wrk")
    with run_registry("bench.with_empty") as registry:
        url = registry.url
        with urllib.request.urlopen(url + PATH) as answer:
            tag, size = answer.headers["ETag"], len(answer.read())
        asked = {
            "empty": (f"{url}/empty", {}),
            "304": (url + PATH, {"If-None-Match": tag}),
            "gzip": (url + PATH, {"Accept-Encoding": "gzip"}),
            "identity": (url + PATH, {}),
        }
        rates: dict[str, list[float]] = {name: [] for name in asked}
        for number in range(options.rounds + 1):
            for name, (path, headers) in asked.items():
                rate = measure(path, headers, options.connections, options.seconds if number else 1)
                if number:  # the first is for warming up
                    rates[name].append(rate)
    ratios = {
        name: statistics.median(rate / empty for rate, empty in zip(each, rates["empty"], strict=True))
        for name, each in rates.items()
    }
    print(f"GET {PATH}, {size} bytes, {options.connections} connections, {options.rounds} rounds")
    for name, each in rates.items():
        needed = f", {NEEDED[name]} needed" if name in NEEDED else ""
        print(f"  {name:8} {statistics.median(each):8.0f} req/s   ratio {ratios[name]:.2f}{needed}")
    out = Path(__file__).parent / "out" / "registry_reads.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"ratios": ratios, "rates": rates, "bytes": size}, indent=2))
    if any(ratios[name] < needed for name, needed in NEEDED.items()):
        sys.exit("a ratio is below what is needed")


if __name__ == "__main__":
    main()
