"""`make bench`: POST /api/v1/log against the reference server, both on one Postgres, in turns, in one run.

Ours checks the API key, counts the rate limit and answers after the durable append, while its consumers rate
and receipt what it accepts in the same process. Both are sent the same body. `wrk` makes the load.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from bench.servers import reference_environment, run_postgres, run_server
from tests.servers.process import find_free_port

BODY = {
    "model": "gpt-4o-mini",
    "provider": "openai",
    "input_tokens": 1200,
    "output_tokens": 340,
    "cached_input_tokens": 400,
    "latency_ms": 812,
    "origin": "bench",
    "cost": 0.000354,  # without it the reference server fetches its registry over the network
}
LIMIT = 1_000_000  # a minute: counted, and not reached


class Run(NamedTuple):
    """What wrk measured."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int


def measure(url: str, key: str, body: dict[str, Any], connections: int, seconds: int) -> Run:
    """One run of load on `POST /api/v1/log`."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f'wrk.method="POST"\nwrk.body=[[{json.dumps(body)}]]\n'
            f'wrk.headers["Content-Type"]="application/json"\nwrk.headers["X-API-Key"]="{key}"\n'
        )
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", script.name]
        text = subprocess.run(
            [*command, f"{url}/api/v1/log"], check=True, capture_output=True, text=True
        ).stdout
    failures = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    failures += sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate, text
    return Run(float(rate[1]), _latency(text, "50%"), _latency(text, "99%"), failures)


def _latency(text: str, share: str) -> float:
    found = re.search(rf"\s{share}\s+([\d.]+)(us|ms|s)\b", text)
    assert found, text
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def call(url: str, method: str, key: str | None, body: dict[str, Any] | None) -> dict[str, Any]:
    """One JSON request."""
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data, headers, method=method), timeout=30
    ) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def new_account(url: str, operator_key: str) -> str:
    """A key whose rate is counted against a limit that it does not reach."""
    account = call(
        f"{url}/api/v1/register",
        "POST",
        None,
        {"email": f"bench-{time.time_ns()}@example.com", "password": "a long enough one"},
    )
    call(
        f"{url}/api/v1/admin/accounts/{account['account_id']}",
        "PATCH",
        operator_key,
        {"requests_per_minute": LIMIT, "logs_per_month": None, "retention_days": None},
    )
    key: str = account["api_key"]
    return key


def settle(url: str, key: str) -> float:
    """Wait until everything accepted is counted; how many seconds that took."""
    started = time.monotonic()
    seen = -1
    while True:
        stats = call(f"{url}/api/v1/stats", "GET", key, None)
        if stats["complete"] and stats["total_requests"] == seen:
            return time.monotonic() - started
        seen = stats["total_requests"]
        time.sleep(0.5)


def main() -> None:
    """Measure, print and write `bench/out/log_throughput.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed to make the load: apt-get install wrk")
    work = Path(tempfile.mkdtemp(prefix="llmring-bench-"))
    reference, ours = f"http://127.0.0.1:{find_free_port()}", f"http://127.0.0.1:{find_free_port()}"
    with run_postgres() as create:
        reference_command = [
            str(reference_environment() / "llmring-server"),
            "serve",
            "--port",
            reference[-5:],
        ]
        reference_command[-1] = reference.rsplit(":", 1)[1]
        ours_command = [sys.executable, "-m", "services", "serve"]
        ours_settings = {
            "LLMRING_DATABASE_URL": create("ours"),
            "LLMRING_PORT": ours.rsplit(":", 1)[1],
            "LLMRING_DATA_DIR": str(work / "data"),
        }
        reference_settings = {"LLMRING_DATABASE_URL": create("reference")}
        with (
            run_server(reference_command, reference_settings, reference, work / "reference.log"),
            run_server(ours_command, ours_settings, ours, work / "ours.log"),
        ):
            key = new_account(ours, (work / "data" / "operator.key").read_text().strip())
            measure(reference, "llmr_pk_bench", BODY, options.connections, 2)
            measure(ours, key, BODY, options.connections, 2)
            settle(ours, key)
            runs: dict[str, list[Run]] = {"reference": [], "ours": []}
            catch_up_s = []
            for _ in range(options.rounds):
                runs["reference"].append(
                    measure(reference, "llmr_pk_bench", BODY, options.connections, options.seconds)
                )
                runs["ours"].append(measure(ours, key, BODY, options.connections, options.seconds))
                catch_up_s.append(settle(ours, key))
    report(runs, catch_up_s, options)


def report(runs: dict[str, list[Run]], catch_up_s: list[float], options: argparse.Namespace) -> None:
    """Print the medians and keep every run."""
    print(
        f"POST /api/v1/log, {options.connections} connections, {options.rounds} rounds of {options.seconds} s"
    )
    medians = {}
    for name, each in runs.items():
        medians[name] = statistics.median(run.requests_per_s for run in each)
        p50_ms = statistics.median(run.p50_ms for run in each)
        p99_ms = statistics.median(run.p99_ms for run in each)
        failures = sum(run.failures for run in each)
        print(
            f"  {name:10} {medians[name]:8.0f} req/s   p50 {p50_ms:6.2f} ms   p99 {p99_ms:6.2f} ms"
            f"   failures {failures}"
        )
    ratio = medians["ours"] / medians["reference"]
    print(f"  ratio {ratio:.1f}; all of it counted {statistics.median(catch_up_s):.1f} s after the load")
    out = Path(__file__).parent / "out" / "log_throughput.json"
    out.parent.mkdir(exist_ok=True)
    found = {name: [run._asdict() for run in each] for name, each in runs.items()}
    out.write_text(json.dumps({"ratio": ratio, "catch_up_s": catch_up_s, **found}, indent=2))


if __name__ == "__main__":
    main()
