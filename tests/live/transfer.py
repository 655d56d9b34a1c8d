"""`llmring-api usage import` and `usage export` as a person runs them, and what they are given."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.live.conftest import Account

CLI = (sys.executable, "-m", "services", "usage")
MONTH = {"start_date": "2026-03-01", "end_date": "2026-03-31"}


def run(
    account: Account, command: str, *arguments: str | Path, cwd: Path, check: int | None = 0, **options: Any
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*CLI, command, *map(str, arguments)], cwd=cwd, env=environment(account), capture_output=True,
        text=True, timeout=120, check=False, **options,
    )  # fmt: skip
    assert check is None or done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def environment(account: Account) -> dict[str, str]:
    url = str(account.http.base_url)
    root = str(Path(__file__).parents[2])
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")},
        "LLMRING_API_URL": url.rstrip("/"),
        "LLMRING_API_KEY": account.key,
        "PYTHONPATH": root,
    }


def record(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "model": "gpt-4o-mini",
        "provider": "openai",
        "input_tokens": 1000 + number,
        "output_tokens": 10,
        "timestamp": f"2026-03-{1 + number % 28:02d}T10:00:00Z",
        "id_at_origin": f"r-{number}",
    } | fields


def write_lines(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def write_csv(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, list(dict.fromkeys(name for each in records for name in each)))
        rows.writeheader()
        rows.writerows(records)
    return path
