"""`POST /api/v1/logs/import`: any number of records, each told of once it is durable."""

import asyncio
import gc
import itertools
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.types import Message
from litestar.types.asgi_types import ReceiveMessage

from services.ingest.import_logs import RECORDS_AT_ONCE
from services.ingest.lines import Line, Splitter
from shared.contracts.keys import Principal
from shared.contracts.topics import USAGE_DEAD
from shared.errors import InvalidFieldError, MalformedRequestError, QuotaExceededError, UnavailableError
from shared.web.client import Answer, raise_problem
from shared.web.principal import PRINCIPAL_HEADER, PrincipalMint
from tests.ingest.house import CALL, GATEWAY, A, FalteringLog, Ingest, Street

PATH = "/api/v1/logs/import"


class Import:
    """A client of one import, which sends pieces and sees what is told meanwhile."""

    def __init__(self, ingest: Ingest, *, account: UUID = A, quota: int | None = None) -> None:
        self._pieces: asyncio.Queue[ReceiveMessage] = asyncio.Queue()
        self.told: list[dict[str, Any]] = []
        self.status = 0
        self._body = b""
        principal = Principal(account_id=account, key_id=UUID(int=7), scopes=("log",), logs_per_month=quota)
        headers = [(PRINCIPAL_HEADER, PrincipalMint(GATEWAY, ingest.clock).mint(principal))]
        scope: Any = {
            "type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b"",
            "headers": headers, "client": None, "server": None, "http_version": "1.1", "scheme": "http",
            "root_path": "", "state": {}, "extensions": {},
        }  # fmt: skip
        assert ingest.service.app is not None
        self._task = asyncio.create_task(ingest.service.app(scope, self._pieces.get, self._send))

    def send(self, piece: bytes, *, more: bool = True) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    def leave(self) -> None:
        self._pieces.put_nowait({"type": "http.disconnect"})

    async def end(self) -> list[dict[str, Any]]:
        """What was told in all; a problem document is raised as its typed error."""
        await asyncio.wait_for(self._task, 20)
        if self.status != 200:
            raise_problem(Answer(self.status, [], self._body))
        return self.told

    async def until(self, lines: int) -> None:
        """Wait until so many are told to be durable."""
        async with asyncio.timeout(20):
            while not any(told.get("lines", 0) >= lines for told in self.told):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._body += message["body"]
            self.told = [json.loads(line) for line in self._body.splitlines()]


def lines(records: Sequence[object]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def record(number: int, **fields: Any) -> dict[str, Any]:
    return CALL | {"timestamp": "2031-05-02T10:00:00Z", "id_at_origin": f"r-{number}"} | fields


async def run_import(ingest: Ingest, body: bytes, **options: Any) -> list[dict[str, Any]]:
    client = Import(ingest, **options)
    client.send(body, more=False)
    return await client.end()


async def test_everything_is_told_and_a_second_time_nothing_counts_twice(street: Street) -> None:
    ingest = await street.open_ingest()
    body = lines([record(n, idempotency_key=f"k-{n}") if n % 2 else record(n) for n in range(2500)])
    told = await run_import(ingest, body)
    assert [each["lines"] for each in told] == [500, 1000, 1500, 2000, 2500, 2500]
    assert told[-1] == {"lines": 2500, "accepted": 2500, "done": True}
    told = await run_import(ingest, body)
    assert told[-1] == {"lines": 2500, "accepted": 2500, "replayed": 2500, "done": True}
    await street.rate_all()
    assert len(await street.rows()) == 2500


async def test_an_array_is_as_good_and_its_records_are_the_same(street: Street) -> None:
    ingest = await street.open_ingest()
    records = [record(n) for n in range(30)]
    told = await run_import(ingest, json.dumps(records, indent=2).encode())
    assert told[-1] == {"lines": 30, "accepted": 30, "done": True}
    assert (await run_import(ingest, lines(records)))[-1]["replayed"] == 30


async def test_each_refused_line_is_told_with_its_number_and_why(street: Street) -> None:
    ingest = await street.open_ingest()
    body = b"\n".join(
        [
            lines([record(1)]).strip(),
            b"",
            b"{not json",
            lines([record(2, input_tokens=-5)]).strip(),
            lines([record(3, alias="x" * 70_000)]).strip(),
            b'{"model": "m-1"}',
            b"[]",
            lines([record(4, alias="a\0b")]).strip(),
            b'{"model": "m-1", "provider": "\xff"}',
            lines([record(5, idempotency_key="k")]).strip(),
            lines([record(6, idempotency_key="k")]).strip(),
            lines([record(7)]).strip(),
        ]
    )
    told = await run_import(ingest, body)
    refused = {each["line"]: each["error"] for each in told if "line" in each}
    assert {line: error["status"] for line, error in refused.items()} == {
        3: 400, 4: 422, 5: 413, 6: 422, 7: 422, 8: 422, 9: 400, 11: 409,
    }  # fmt: skip
    assert [error["errors"][0]["field"] for line, error in refused.items() if line in (4, 6, 8)] == [
        "input_tokens",
        "provider",
        "alias",
    ]
    assert told[-1] == {"lines": 12, "accepted": 3, "rejected": 8, "done": True}
    await street.rate_all()
    assert len(await street.rows()) == 3


async def test_what_is_told_is_durable_while_the_rest_is_still_to_come(street: Street) -> None:
    ingest = await street.open_ingest()
    client = Import(ingest)
    client.send(lines([record(n) for n in range(3 * RECORDS_AT_ONCE)]))
    await client.until(RECORDS_AT_ONCE)
    assert len(await street.logged()) >= RECORDS_AT_ONCE
    client.leave()
    assert not any(told.get("done") for told in await client.end())
    told = await run_import(ingest, lines([record(n) for n in range(3 * RECORDS_AT_ONCE)]))
    assert told[-1]["accepted"] == 3 * RECORDS_AT_ONCE
    await street.rate_all()
    assert len(await street.rows()) == 3 * RECORDS_AT_ONCE


async def test_an_outage_in_the_middle_is_told_and_the_import_can_be_repeated(street: Street) -> None:
    log = FalteringLog(street.event_log)
    ingest = await street.open_ingest(event_log=log)
    client = Import(ingest)
    client.send(lines([record(n) for n in range(RECORDS_AT_ONCE)]))
    client.send(lines([record(n) for n in range(RECORDS_AT_ONCE, 2 * RECORDS_AT_ONCE)]))
    await client.until(RECORDS_AT_ONCE)
    log.fail_after = 1
    client.send(lines([record(n) for n in range(2 * RECORDS_AT_ONCE, 5 * RECORDS_AT_ONCE)]), more=False)
    last = (await client.end())[-1]
    assert (last["error"]["status"], last.get("done")) == (503, None)
    assert last["lines"] == last["accepted"] < 5 * RECORDS_AT_ONCE
    told = await run_import(ingest, lines([record(n) for n in range(5 * RECORDS_AT_ONCE)]))
    assert told[-1]["accepted"] == 5 * RECORDS_AT_ONCE
    await street.rate_all()
    assert len(await street.rows()) == 5 * RECORDS_AT_ONCE


@pytest.mark.redis
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("with_redis", [False, True])
async def test_a_key_from_the_content_keeps_no_copy_and_still_counts_once(
    street: Street, redis_url: str, stored: bool, with_redis: bool
) -> None:
    log = FalteringLog(street.event_log)
    ingest = await street.open_ingest(event_log=log, redis_url=redis_url if with_redis else None)
    body = lines([record(n, idempotency_key=f"k-{n}") if n % 2 else record(n) for n in range(20)])
    log.fail_after, log.fail_before = int(stored), int(not stored)
    with pytest.raises(UnavailableError):
        await run_import(ingest, body)
    ingest.clock.at = ingest.clock.at.replace(second=ingest.clock.at.second + 1)
    told = await run_import(ingest, body)
    assert told[-1] == {"lines": 20, "accepted": 20, "replayed": 20, "done": True}
    for _ in range(2):
        await street.rate_all()
        claims = await street.fetch("SELECT event FROM usage.claims")
        assert [len(claims), sum(not each["event"] for each in claims)] == [20, 10]
        assert len(await street.rows()) == 20
        assert (await run_import(ingest, body))[-1]["replayed"] == 20
    assert await street.logged(USAGE_DEAD) == []


async def test_without_the_event_log_nothing_is_begun(street: Street) -> None:
    log = FalteringLog(street.event_log)
    ingest = await street.open_ingest(event_log=log)
    log.fail_before = 1
    with pytest.raises(UnavailableError):
        await run_import(ingest, lines([record(1)]))


async def test_the_quota_ends_it_at_the_first_record_that_does_not_pass(street: Street) -> None:
    ingest = await street.open_ingest()
    body = lines([record(n) for n in range(10)])
    told = await run_import(ingest, body, quota=7)
    assert (told[-1]["lines"], told[-1]["accepted"]) == (7, 7)
    assert told[-1]["error"]["type"].endswith("/quota-exceeded")
    assert told[-1]["error"]["resets_at"] == "2031-06-01T00:00:00Z"
    told = await run_import(ingest, lines([record(n) for n in range(7)]), quota=7)
    assert told[-1]["replayed"] == 7, "what was charged is not charged again"
    with pytest.raises(QuotaExceededError):
        await run_import(ingest, lines([record(8)]), quota=7)


@pytest.mark.parametrize(
    "body", [b"[{}", b"[1 2]", b"[" + b" " * 200_000 + b'"', b'["\xff"]', b"x" * 200_000]
)
async def test_a_stream_that_cannot_be_split_is_malformed(street: Street, body: bytes) -> None:
    ingest = await street.open_ingest()
    client = Import(ingest)
    client.send(body)
    client.send(b"", more=False)
    try:
        told = await client.end()
    except MalformedRequestError:
        return
    assert told[-1]["error"]["status"] == 400
    assert "accepted" not in told[-1]


def test_numbers_of_any_length_and_blank_beginnings_are_split() -> None:
    assert [line.number for line in Splitter().feed(b'[{"a": %s}, 1]' % (b"9" * 5000), is_last=True)] == [
        1,
        2,
    ]
    assert Splitter().feed(b'\n \n{"a": 1}', is_last=True) == [Line(3, b'{"a": 1}')]
    splitter = Splitter()
    for _ in range(200):  # as much as a hundred megabytes, and nothing of it is kept
        assert splitter.feed(b" \n" * 250_000, is_last=False) == []
    assert splitter.feed(b"{}", is_last=True) == [Line(50_000_001, b"{}")]


async def test_refused_records_leave_nothing_in_memory(street: Street) -> None:
    ingest = await street.open_ingest()
    gc.collect()
    gc.disable()  # what only a collector would free is kept for long: it seldom runs over old objects
    try:
        await run_import(ingest, lines([record(n, input_tokens=-1) for n in range(2000)]))
        kept = [each for each in gc.get_objects() if isinstance(each, InvalidFieldError)]
    finally:
        gc.enable()
    assert kept == []


Json = st.recursive(
    st.none() | st.integers(-9, 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    records=st.lists(Json, max_size=6),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    as_array=st.booleans(),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_wherever_a_stream_is_cut_its_records_are_the_same(
    *, records: list[Any], indent: int | None, ascii_only: bool, bom: bytes, as_array: bool, cuts: list[int]
) -> None:
    if as_array:
        body = json.dumps(records, indent=indent, ensure_ascii=ascii_only).encode()
    else:
        records = [{"r": each} for each in records]  # a line that begins with a bracket begins an array
        body = "\n".join(json.dumps(each, ensure_ascii=ascii_only) for each in records).encode()
    body = bom + body
    splitter = Splitter()
    found = []
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    for start, end in itertools.pairwise(places):
        found += splitter.feed(body[start:end], is_last=False)
    found += splitter.feed(b"", is_last=True)
    assert [json.loads(line.body) for line in found] == records
    assert [line.number for line in found] == list(range(1, len(records) + 1))
