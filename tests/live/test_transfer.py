"""What `llmring-api usage import` takes and refuses, against a running server."""

import json
import os
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from services.cli.transfer.sources import Passed, ServerDatabase
from shared.postgres import open_connection
from tests.live.conftest import Account
from tests.live.transfer import MONTH, record, run, write_csv, write_lines

LOGGED = [
    {
        "id": f"5d2b8c1e-0000-4000-8000-{number:012d}",
        "logged_at": f"2026-03-0{1 + number}T" + ("10:00:00.5+02:00" if number % 2 else "08:00:00.500"),
        "provider": "openai",
        "model": "gpt-4o-mini",
        "alias": "fast" if number else None,
        "profile": "default",
        "origin": 'elsewhere, "quoted"',
        "input_tokens": 1000,
        "output_tokens": 100,
        "cached_input_tokens": 0,
        "cost": number + 0.12345678,
        "metadata": {"user": "ü"},
        "conversation_id": "0c0e0d52-0000-4000-8000-000000000001" if number == 2 else None,
        "id_at_origin": None,
    }
    for number in range(4)
]  # fmt: skip
"""As `GET /api/v1/logs` of an llmring-server gives them."""


@pytest.mark.parametrize("form", ["array", "lines", "csv"])
def test_what_an_llmring_server_gave_comes_over_to_the_last_digit_and_once(
    account: Account, tmp_path: Path, form: str
) -> None:
    if form == "array":
        file = tmp_path / "logs.json"
        file.write_text(json.dumps(LOGGED, indent=2))
    elif form == "lines":
        file = write_lines(tmp_path / "logs.jsonl", LOGGED)
    else:
        file = write_csv(
            tmp_path / "logs.csv", [each | {"metadata": json.dumps(each["metadata"])} for each in LOGGED]
        )
    assert run(account, "import", file, cwd=tmp_path).stdout == "4 records: 4 new, 0 were there, 0 refused.\n"
    assert run(account, "import", file, cwd=tmp_path).stdout == "4 records: 0 new, 4 were there, 0 refused.\n"
    stats = account.stats(**MONTH)
    assert (stats["total_requests"], stats["total_cost"]) == (4, 6.49382712)
    newest_first = account.logs(**MONTH)
    assert [each["logged_at"] for each in newest_first] == [
        f"2026-03-0{day}T08:00:00.500000Z" for day in (4, 3, 2, 1)
    ]
    assert [each["alias"] for each in newest_first] == ["fast", "fast", "fast", None]
    assert newest_first[0]["origin"] == 'elsewhere, "quoted"'
    assert newest_first[0]["metadata"] == {"user": "ü"}
    assert newest_first[1]["metadata"] == {
        "conversation_id": "0c0e0d52-0000-4000-8000-000000000001",
        "user": "ü",
    }
    assert not list(tmp_path.glob("*.import-state"))


def test_costs_can_be_calculated_instead(account: Account, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "logs.jsonl", LOGGED)
    run(account, "import", file, "--recalculate", cwd=tmp_path)
    assert (
        account.stats(**MONTH)["total_cost"]
        == float(4 * (1000 * Decimal("0.15") + 100 * Decimal("0.6"))) / 1e6
    )


def test_refused_records_are_in_a_file_with_their_place_and_the_reason(
    account: Account, tmp_path: Path
) -> None:
    file = tmp_path / "mixed.ndjson"
    lines = [json.dumps(each) for each in (record(1), record(2, input_tokens=-1), record(3, cost="much"))]
    file.write_text("\n".join([*lines[:2], "", "{broken", lines[2], "[1]", json.dumps(record(4))]))
    done = run(account, "import", file, cwd=tmp_path, check=1)
    assert done.stdout.startswith("6 records: 2 new, 0 were there, 4 refused, see ")
    refused = [json.loads(line) for line in (tmp_path / "mixed.ndjson.refused.ndjson").open()]
    assert [each["number"] for each in refused] == [2, 4, 5, 6]
    assert refused[0]["reason"].startswith("input_tokens: ")
    assert refused[0]["record"] == record(2, input_tokens=-1)
    assert refused[2]["reason"].startswith("cost: ")
    assert account.stats(**MONTH)["total_requests"] == 2


def test_a_table_with_a_row_that_is_none_names_it(account: Account, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(
        "provider,model,input_tokens,timestamp\nopenai,gpt-4o-mini,5,2026-03-01T10:00:00Z\n"
        "openai,gpt-4o-mini,five,2026-03-01T10:00:00Z\nopenai\n"
    )
    done = run(account, "import", file, cwd=tmp_path, check=1)
    assert done.stdout.startswith("3 records: 1 new, 0 were there, 2 refused")
    refused = [json.loads(line) for line in (tmp_path / "rows.csv.refused.ndjson").open()]
    assert [each["number"] for each in refused] == [2, 3]
    assert refused[0]["reason"].startswith("input_tokens: ")


def test_a_row_that_cannot_be_read_stops_nothing(account: Account, tmp_path: Path) -> None:
    head = "provider,model,input_tokens,timestamp,metadata,cost\n"
    good = 'openai,gpt-4o-mini,{},2026-03-01T10:00:00Z,"{{""a"":\n1}}",\n'
    bad = ('"two\nlines"', '"{},""cost"":999"', "[" * 100_000, "nothing")
    rows = [good.format(1), *(f"openai,gpt-4o-mini,1,2026-03-01T10:00:00Z,{text},\n" for text in bad)]
    rows += [f"openai,gpt-4o-mini,{'[' * 100_000},2026-03-01T10:00:00Z,,\n", good.format(2)]
    (tmp_path / "rows.csv").write_text(head + "".join(rows))
    done = run(account, "import", "rows.csv", cwd=tmp_path, check=1)
    assert done.stdout.startswith("7 records: 2 new, 0 were there, 5 refused")
    lines = [
        b'{"id": "\xff", "logged_at": "2026-03-01T10:00:00Z"}',
        b'{"logged_at": "0001-01-01T00:00:00+05:00", "model": "m", "provider": "p"}',
        b'{"model": "m", "provider": "p", "input_tokens": ' + b"9" * 5000 + b"}",
    ]
    (tmp_path / "odd.json").write_bytes(b"[" + b",".join([*lines[1:], json.dumps(record(3)).encode()]) + b"]")
    done = run(account, "import", "odd.json", cwd=tmp_path, check=1)
    assert done.stdout.startswith("3 records: 1 new, 0 were there, 2 refused")
    (tmp_path / "odd.ndjson").write_bytes(b"\n".join([*lines, json.dumps(record(4)).encode()]))
    done = run(account, "import", "odd.ndjson", cwd=tmp_path, check=1)
    assert done.stdout.startswith("4 records: 1 new, 0 were there, 3 refused")
    assert account.stats(**MONTH)["total_requests"] == 4


def test_an_id_is_a_key_wherever_it_stands(account: Account, tmp_path: Path) -> None:
    records = [record(0, id=number) for number in (1, 2, 3)] + [record(1, id=3)]
    done = run(account, "import", write_lines(tmp_path / "ids.ndjson", records), cwd=tmp_path, check=1)
    assert done.stdout.startswith("4 records: 3 new, 0 were there, 1 refused")


def test_files_and_devices_that_are_named_are_not_destroyed(account: Account, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "own.ndjson", [record(1, input_tokens=-1)])
    assert "another file" in run(account, "import", file, "--refused", file, cwd=tmp_path, check=2).stderr
    assert file.exists()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for arguments in (("import", file, "--refused", pipe), ("export", "-o", pipe, "--format", "csv")):
        with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.DEVNULL) as reader:
            run(account, *arguments, cwd=tmp_path, check=None)
            reader.wait(timeout=10)
        assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.json",), "There is no file nowhere.json."),
        (("half.json",), "Record 2 of the array is not JSON."),
        (("good.json", "--api-key", "llmr_pk_" + "0" * 32), "The server answers 401: "),
        (("good.json", "--url", "http://127.0.0.1:9", "--patience", "1"), "does not answer"),
        (("postgresql://postgres@127.0.0.1:9/x?password=hush",), "not available"),
        (("good.json", "--url", "foo"), "must be like http://"),
        (("good.json", "--api-key", "a\nb"), "printable"),
        (("good.parquet",), "Parquet cannot be imported"),
    ],
)
def test_what_cannot_be_imported_is_told_in_a_sentence(
    account: Account, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "good.json").write_text(json.dumps([record(1)]))
    (tmp_path / "half.json").write_text(json.dumps([record(1), record(2)])[:-20])
    (tmp_path / "good.parquet").touch()
    done = run(account, "import", *arguments, cwd=tmp_path, check=None)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "hush" not in done.stderr
    assert account.stats(**MONTH)["total_requests"] == (1 if arguments[0] == "half.json" else 0)


async def test_the_database_of_an_llmring_server_is_read_and_not_changed(
    account: Account, tmp_path: Path, postgres_url: str
) -> None:
    connection = await open_connection(postgres_url, application_name="test")
    await connection.execute("""
        CREATE SCHEMA llmring;
        CREATE TABLE llmring.usage_logs (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(), api_key_id varchar(255),
            model varchar(255) NOT NULL, provider varchar(50) NOT NULL,
            alias varchar(128), profile varchar(64) DEFAULT 'default',
            input_tokens integer NOT NULL, output_tokens integer NOT NULL,
            cached_input_tokens integer DEFAULT 0, cost decimal(10, 8) NOT NULL, latency_ms integer,
            origin varchar(255), id_at_origin varchar(255), conversation_id uuid,
            metadata jsonb DEFAULT '{}', created_at timestamptz DEFAULT CURRENT_TIMESTAMP, project_id uuid
        );
        INSERT INTO llmring.usage_logs
            (api_key_id, model, provider, input_tokens, output_tokens, cost, latency_ms, metadata, created_at)
        SELECT 'project-' || n % 2, 'gpt-4o-mini', 'openai', n, 10, 0.00000001 * n, 800, '{"n": 1.50}',
               '2026-03-01T00:00:00Z'::timestamptz + n * interval '1 minute'
        FROM generate_series(1, 5000) AS n;
    """)
    try:
        done = run(account, "import", postgres_url, "--project", "project-1", cwd=tmp_path)
        assert done.stdout == "2500 records: 2500 new, 0 were there, 0 refused.\n"
        done = run(account, "import", postgres_url, cwd=tmp_path)
        assert done.stdout == "5000 records: 2500 new, 2500 were there, 0 refused.\n"
        stats = account.stats(**MONTH)
        assert Decimal(str(stats["total_cost"])) == Decimal("0.12502500")
        assert stats["summary"]["input_tokens"] == sum(range(1, 5001))
        assert await connection.fetchval("SELECT count(*) FROM llmring.usage_logs") == 5000
        source = ServerDatabase(postgres_url, "llmring", None)
        items = [item async for item in source.read(Passed(), keep_cost=True)]
        await connection.execute("DELETE FROM llmring.usage_logs WHERE input_tokens <= 2000")
        behind = [item async for item in source.read(Passed(3000, items[2999].place), keep_cost=True)]
        assert [item.body for item in behind] == [item.body for item in items[3000:]]
    finally:
        connection.terminate()
