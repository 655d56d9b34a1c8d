"""Every record once: imports that are interrupted or meet one another, and what an export brings back."""

import csv
import json
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pyarrow.compute
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cells import guard_cell, read_cell
from tests.live.conftest import Account
from tests.live.process import ServerProcess
from tests.live.transfer import CLI, MONTH, environment, record, run, write_lines

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def test_what_was_sent_for_one_account_is_not_passed_over_for_another(
    server: ServerProcess, operator: httpx.Client, account: Account, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "many.ndjson", [record(n) for n in range(3000)])
    small = Account(server, operator)
    limits = {"requests_per_minute": None, "logs_per_month": 2000, "retention_days": None}
    operator.patch(f"/api/v1/admin/accounts/{small.account_id}", json=limits).raise_for_status()
    done = run(small, "import", file, cwd=tmp_path, check=1)
    assert "quota" in done.stderr
    assert count_saved(tmp_path / "many.ndjson.import-state") == 2000
    done = run(account, "import", file, cwd=tmp_path)
    assert done.stdout == "3000 records: 3000 new, 0 were there, 0 refused.\n"


def test_a_second_import_of_a_source_is_refused_while_the_first_one_runs(
    account: Account, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "records.ndjson", [record(1)])
    nowhere = [*CLI, "import", str(file), "--url", "http://127.0.0.1:9"]
    first = subprocess.Popen(nowhere, env=environment(account), stderr=subprocess.PIPE)
    try:
        assert first.stderr is not None
        first.stderr.readline()  # it cannot send, and waits
        done = run(account, "import", file, cwd=tmp_path, check=1)
        assert done.stderr.startswith(f"Error: Another import of {file} is running")
        assert run(account, "import", write_lines(tmp_path / "b.ndjson", [record(2)]), cwd=tmp_path)
    finally:
        first.kill()
        first.communicate()
    done = run(account, "import", file, cwd=tmp_path)  # whoever was killed holds nothing
    assert done.stdout == "1 records: 1 new, 0 were there, 0 refused.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.ndjson", "records.ndjson"]


@pytest.fixture
def own(data_dir: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(data_dir)
    process.start()
    yield process
    process.stop()


def count_saved(journal: Path) -> int:
    return int(json.loads(journal.read_bytes())["count"]["records"]) if journal.exists() else 0


def wait_for_records(journal: Path, at_least: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until so many are told to be durable."""
    deadline = time.monotonic() + 60
    while (count_saved(journal)) < at_least:
        assert process.poll() is None, "it ended too soon"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_an_import_and_its_server_are_killed_and_everything_is_there_once(
    own: ServerProcess, tmp_path: Path
) -> None:
    count = 25_000
    file = write_lines(tmp_path / "many.ndjson", [record(n) for n in range(count)])
    journal = tmp_path / "many.ndjson.import-state"
    with httpx.Client(base_url=own.url, headers={"X-API-Key": own.operator_key}) as operator:
        account = Account(own, operator)

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*CLI, "import", str(file)], env=environment(account), stdout=subprocess.PIPE)

    first = spawn()
    wait_for_records(journal, 5_000, first)
    first.kill()
    first.wait()
    second = spawn()
    wait_for_records(journal, 15_000, second)
    own.kill()
    own.start()
    told = second.communicate(timeout=120)[0].decode()
    assert second.returncode == 0
    assert told.startswith(f"{count} records: ")
    stats = account.stats(**MONTH)
    assert stats["total_requests"] == count
    assert stats["summary"]["input_tokens"] == sum(1000 + n for n in range(count))


def test_an_export_has_every_record_in_each_form(account: Account, tmp_path: Path) -> None:
    records = [record(n, metadata={"n": n}, origin='two\n"lines"') for n in range(1500)] + [
        record(9999, cost=0.000000000000000000000000001)
    ]
    run(account, "import", write_lines(tmp_path / "in.ndjson", records), cwd=tmp_path)
    total = account.stats(**MONTH)["total_cost"]
    for name in ("out.csv", "out.ndjson", "out.parquet"):
        done = run(
            account,
            "export",
            "-o",
            name,
            "--start-date",
            "2026-03-01",
            "--end-date",
            "2026-03-31",
            cwd=tmp_path,
        )
        assert done.stdout == f"1501 records in {name}.\n"
    with (tmp_path / "out.csv").open(newline="") as file:
        assert float(sum(Decimal(row["cost"]) for row in csv.DictReader(file))) == total
    lines = [json.loads(line, parse_float=Decimal) for line in (tmp_path / "out.ndjson").open()]
    assert float(sum(Decimal(each["cost"]) for each in lines)) == total
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert float(pyarrow.compute.sum(table.column("cost")).as_py()) == total
    assert Decimal("1e-27") in table.column("cost").to_pylist()
    assert table.column("logged_at").to_pylist()[0].isoformat() == "2026-03-28T10:00:00+00:00"
    assert sorted(path.name for path in tmp_path.glob("out.*")) == ["out.csv", "out.ndjson", "out.parquet"]
    done = run(account, "export", "--start-date", "nonsense", cwd=tmp_path, check=1)
    assert "The server answers 422: " in done.stderr
    done = run(account, "export", "-o", "nowhere/x.csv", cwd=tmp_path, check=1)
    assert done.stderr.startswith("Error: No such file or directory")


@given(st.text("'=+-@\t\r\n\uff1da1", max_size=6))
def test_a_guarded_text_begins_no_formula_and_is_read_as_it_was(text: str) -> None:
    guarded = guard_cell(text)
    assert not guarded.startswith(FORMULAS)
    assert read_cell(guarded) == text
    assert guarded in (text, f"'{text}")


def test_an_exported_table_holds_no_formula_and_comes_back_as_it_was(
    server: ServerProcess, operator: httpx.Client, account: Account, tmp_path: Path
) -> None:
    texts = [
        "=1+1",
        "+1",
        "-2",
        "@SUM(A1)",
        "\tx",
        "\r=x",
        "\n=x",
        "\uff1d1",
        "'=1",
        "''-1",
        "'plain",
        "it's",
        "1",
        "-",
    ]
    records = [
        record(n, origin=text, alias=text, profile=text, id_at_origin=text, metadata={"=x": text}, cost=0.25)
        for n, text in enumerate(texts)
    ]  # fmt: skip
    run(account, "import", write_lines(tmp_path / "in.ndjson", records), cwd=tmp_path)
    account.stats(**MONTH)
    run(account, "export", "-o", "out.csv", cwd=tmp_path)
    with (tmp_path / "out.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(FORMULAS)]
    other = Account(server, operator)
    run(other, "import", "out.csv", cwd=tmp_path)
    other.stats(**MONTH)

    def kept(of: Account) -> list[dict[str, object]]:
        own = ("id", "received_at")
        return [
            {name: value for name, value in each.items() if name not in own} for each in of.logs(limit=500)
        ]

    assert kept(other) == kept(account)
    assert {row["origin"] for row in kept(other)} == set(texts)
