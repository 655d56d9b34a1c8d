"""Usage in the background: when it is sent, and that it is neither lost nor counted twice."""

import logging
import multiprocessing
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmring.api import APIService, SyncAPIService
from llmring.api.queue import UsageQueue
from llmring.api.queue.store import NewRow, QueueStore
from tests.client.conftest import FOREIGN, KEY, open_api
from tests.client.fake import FakeServer, Reply, Seen, accept_all, problem

RECORD: dict[str, Any] = {"model": "openai:gpt-4o-mini", "input_tokens": 1200, "output_tokens": 350}


def keys_of(fake: FakeServer) -> list[str]:
    """The idempotency keys of every record that was sent, in order."""
    return [record["idempotency_key"] for seen in fake.seen for record in seen.body["logs"]]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_batch_goes_when_it_is_full_and_when_it_is_old(fake: FakeServer) -> None:
    fake.handler = accept_all
    with SyncAPIService(fake.url, KEY, batch_size=10, flush_interval_s=3600) as api:
        keys = [api.queue_usage(**RECORD, metadata={"n": n}) for n in range(9)]
        assert api.persist()
        assert (api.queue_state().pending, fake.seen) == (9, [])
        keys.append(api.queue_usage(**RECORD))
        wait_until(lambda: api.queue_state().sent == 10)
        assert keys_of(fake) == keys
        assert len(fake.seen) == 1
        api.queue_usage(**RECORD)
        assert api.flush().pending == 0
        assert len(fake.seen) == 2
    with SyncAPIService(fake.url, KEY, flush_interval_s=0.2) as api:
        api.queue_usage(**RECORD)
        wait_until(lambda: api.queue_state().sent == 1)
    with SyncAPIService(fake.url, KEY, flush_interval_s=3600) as api:
        for _ in range(2500):
            api.queue_usage(**RECORD)
    sizes = [len(seen.body["logs"]) for seen in fake.seen[3:]]
    assert sum(sizes) == 2500
    assert max(sizes) <= 1000
    assert len(set(keys_of(fake))) == 10 + 1 + 1 + 2500


def test_a_record_has_its_own_time_and_what_it_was_given(fake: FakeServer, api: APIService) -> None:
    fake.handler = accept_all
    before = datetime.now(UTC)
    metadata = {"a": [1]}
    own = api.queue_usage(**RECORD, cost=Decimal("0.10"), metadata=metadata, idempotency_key="mine")
    metadata["a"].append(2)  # what the caller does with it later is not part of the record
    at = datetime(2024, 1, 2, tzinfo=UTC)
    api.queue_usage(**RECORD, timestamp=at, origin=None)
    api.flush()
    [first, second] = fake.seen[0].body["logs"]
    made_at = datetime.fromisoformat(first.pop("timestamp"))
    assert before <= made_at <= datetime.now(UTC) < before + timedelta(minutes=1)
    assert own == first.pop("idempotency_key") == "mine"
    assert first == {**RECORD, "cost": 0.1, "metadata": {"a": [1]}}
    assert second["timestamp"] == "2024-01-02T00:00:00Z"
    assert "origin" not in second


@pytest.mark.parametrize(
    "reply",
    [
        Reply(0),
        problem(500, "internal"),
        problem(503, "unavailable", headers={"Retry-After": "0"}),
        problem(404, "not-found"),
        Reply(200, b"<html>"),
        Reply(200, {"results": []}),
        Reply(302, b"", {"Location": "/"}),
    ],
)
def test_what_fails_is_sent_again_as_it_was(fake: FakeServer, api: APIService, reply: Reply) -> None:
    left = [reply, reply]
    fake.handler = lambda seen: left.pop() if left else accept_all(seen)
    keys = [api.queue_usage(**RECORD) for _ in range(3)]
    state = api.flush()
    assert (state.pending, state.sent, state.refused, state.dropped) == (0, 3, 0, 0)
    assert keys_of(fake) == keys * 3
    assert fake.seen[0].body == fake.seen[2].body


def test_the_server_is_left_alone_for_as_long_as_it_asks(fake: FakeServer, api: APIService) -> None:
    left = [problem(429, "rate-limited", headers={"Retry-After": "1"})]
    fake.handler = lambda seen: left.pop() if left else accept_all(seen)
    api.queue_usage(**RECORD)
    started = time.monotonic()
    assert api.flush().sent == 1
    assert time.monotonic() - started >= 1
    fake.answer(problem(429, "quota-exceeded", headers={"Retry-After": "1000000"}))
    api.queue_usage(**RECORD)
    state = api.flush(timeout_s=0.5)
    assert (state.pending, state.last_error) == (1, "no")
    assert len(fake.seen) == 3


def test_each_record_of_a_batch_has_its_own_outcome(
    fake: FakeServer, api: APIService, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = {
        "good": {"log_id": "x"},
        "bad": {"error": {"status": 422, "detail": "model: too long", "errors": [{"field": "model"}]}},
        "flight": {"error": {"status": 409, "detail": "in flight"}},
        "quota": {"error": {"status": 429, "detail": "no room", "type": "x/quota-exceeded"}},
        "odd": {"error": None},
    }
    for key in outcomes:
        api.queue_usage(**RECORD, idempotency_key=key)
    fake.handler = lambda seen: Reply(
        200, {"results": [outcomes[record["idempotency_key"]] for record in seen.body["logs"]]}
    )
    state = api.flush(timeout_s=0.5)
    assert (state.sent, state.refused, state.pending) == (1, 1, 3)
    [refused] = api.list_refused()
    assert (refused.key, refused.reason) == ("bad", "model: too long")
    assert b'"input_tokens":1200' in refused.body
    assert "model: too long" in caplog.text


def test_a_batch_that_nothing_is_taken_of_is_sorted_by_its_results(fake: FakeServer, api: APIService) -> None:
    fake.answer(
        Reply(422, {"status": 422, "results": [{"index": 0, "error": {"status": 422, "detail": "no model"}}]})
    )
    api.queue_usage(model="")
    state = api.flush()
    assert (state.pending, state.refused) == (0, 1)


def test_one_record_that_spoils_its_batch_is_found(fake: FakeServer, api: APIService) -> None:
    def answer(seen: Seen) -> Reply:
        spoilt = any(record["idempotency_key"] == "37" for record in seen.body["logs"])
        return problem(400, "malformed-request", "what is this?") if spoilt else accept_all(seen)

    fake.handler = answer
    for number in range(100):
        api.queue_usage(**RECORD, idempotency_key=str(number))
    state = api.flush()
    assert (state.pending, state.sent, state.refused) == (0, 99, 1)
    assert [(each.key, each.reason) for each in api.list_refused()] == [("37", "what is this?")]


def test_a_bad_key_stops_sending_and_loses_nothing(fake: FakeServer, api: APIService) -> None:
    fake.answer(problem(401, "unauthenticated", "the key is revoked"))
    api.queue_usage(**RECORD)
    state = api.flush()
    assert (state.pending, state.stopped_by) == (1, "the key is revoked")
    api.queue_usage(**RECORD)
    assert api.persist()
    assert len(fake.seen) == 1
    api.flush()  # whoever asks for it may know that the key is good again
    assert len(fake.seen) == 2
    fake.handler = accept_all
    assert api.flush().sent == 2


def test_a_key_that_is_good_again_is_noticed_without_anybodys_help(
    fake: FakeServer, api: APIService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmring.api.queue.sender._FIRST_REST_S", 0.2)
    times: list[float] = []
    suspended = problem(401, "unauthenticated", "the account is suspended", headers={"Retry-After": "1"})
    left = [suspended, problem(503, "unavailable"), problem(403, "forbidden"), suspended]

    def answer(seen: Seen) -> Reply:
        times.append(time.monotonic())
        return left.pop() if left else accept_all(seen)

    fake.handler = answer
    keys = [api.queue_usage(**RECORD) for _ in range(5)]
    assert api.flush().stopped_by == "the account is suspended"
    keys.append(api.queue_usage(**RECORD))
    wait_until(lambda: api.queue_state().sent == 6)
    assert api.queue_state().stopped_by is None
    assert [len(seen.body["logs"]) for seen in fake.seen[:3]] == [5, 1, 1]
    assert set(keys_of(fake)[-6:]) == set(keys)
    assert times[1] - times[0] >= 1
    assert times[2] - times[1] >= 0.2  # it was refused twice, so the rest has doubled


def test_a_clock_that_is_ahead_loses_nothing(
    fake: FakeServer, api: APIService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(seen: Seen) -> Reply:
        error = {
            "status": 422,
            "detail": "timestamp: ahead",
            "errors": [{"field": "timestamp", "message": "x"}],
        }
        results = [{"error": error} if "timestamp" in each else {"log_id": "x"} for each in seen.body["logs"]]
        return Reply(200, {"results": results})

    fake.handler = answer
    api.queue_usage(**RECORD, idempotency_key="queue's time")
    api.queue_usage(**RECORD, idempotency_key="caller's time", timestamp="2999-01-01T00:00:00Z")
    state = api.flush()
    assert (state.sent, state.refused) == (1, 1)
    assert [each.key for each in api.list_refused()] == ["caller's time"]


def test_a_full_queue_drops_the_newest(fake: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    fake.answer(Reply(0))
    api = open_api(fake, max_queued=100)
    keys = []
    for _ in range(3):
        keys += [api.queue_usage(**RECORD) for _ in range(50)]
        api.persist()
    assert (api.queue_state().pending, api.queue_state().dropped) == (100, 50)
    assert "the usage queue is full: 50 records" in caplog.text
    fake.handler = accept_all
    assert api.flush().sent == 100
    assert [key for key in keys_of(fake) if key in keys[:100]][-100:] == keys[:100]
    api.queue_usage(**RECORD)
    assert api.close().sent == 101


def test_a_disk_that_does_not_take_them_fills_the_memory_and_no_more(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.handler = accept_all
    monkeypatch.setattr("llmring.api.queue.writer.MAX_BYTES_IN_MEMORY", 20_000)
    api = open_api(fake, queue_path=tmp_path / "queue")
    api.queue_usage(**RECORD)
    assert api.persist()
    with sqlite3.connect(tmp_path / "queue", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(300):
            api.queue_usage(**RECORD)
        dropped = api.queue_state().dropped
        assert 200 < dropped < 300
        assert not api.persist(timeout_s=0.1)
        other.execute("COMMIT")
    assert api.flush().sent == 301 - dropped
    assert api.close().dropped == dropped


def test_a_burst_is_taken_whole(fake: FakeServer, api: APIService) -> None:
    fake.handler = accept_all
    for _ in range(20_000):
        api.queue_usage(**RECORD)
    state = api.flush()
    assert (state.sent, state.dropped) == (20_000, 0)


def test_nothing_that_is_queued_can_raise(fake: FakeServer, api: APIService) -> None:
    fake.handler = accept_all
    loop: dict[str, Any] = {}
    loop["self"] = loop
    put: Any = api.queue_usage
    for wrong in (
        {"model": object()},
        {"model": "m", "tokens": 1},
        {"model": "m", "metadata": loop},
        {"model": "m", "metadata": {"x": "y" * 70_000}},
        {"model": "\ud800"},
        {"idempotency_key": object()},
        {"idempotency_key": "\ud800", "\udfff": 1},
        {"model": "m", "cost": float("nan")},
        {"model": "m", "metadata": {"scores": (1.5, float("-inf")), "best": Decimal("NaN"), "none": None}},
    ):
        put(**wrong)
    put(**RECORD, metadata={"said": "null NaN Infinity", "nothing": None})
    put(**RECORD, metadata={"as_it_is": msgspec.Raw(b'{"nothing": null}')})
    assert api.flush().sent == 2
    reasons = [each.reason for each in api.list_refused()]
    assert len(reasons) == 9
    assert reasons[1] == "no such fields: tokens"
    assert "larger than 65536 bytes" in reasons[3]
    assert "cost: must be a finite number" in reasons[7]
    assert "metadata.scores.1: must be a finite number; metadata.best: must be" in reasons[8]


def test_without_a_disk_it_works_in_memory(fake: FakeServer, tmp_path: Path) -> None:
    fake.handler = accept_all
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "damaged").write_bytes(b"no database at all" * 1000)
    for path in (tmp_path / "file" / "queue", tmp_path / "damaged", None):
        with SyncAPIService(fake.url, KEY, queue_path=path) as api:
            api.queue_usage(**RECORD)
            state = api.flush()
            assert (state.sent, state.path) == (1, None)


def test_the_next_run_sends_what_this_one_could_not(fake: FakeServer) -> None:
    fake.answer(Reply(0))
    keys = []
    for _ in range(2):
        api = open_api(fake)
        keys += [api.queue_usage(**RECORD) for _ in range(3)]
        started = time.monotonic()
        api.close(timeout_s=5)
        assert time.monotonic() - started < 3  # a server that is away does not hold up the end
    fake.seen.clear()
    fake.handler = accept_all
    with SyncAPIService(fake.url, KEY) as another:
        wait_until(lambda: another.queue_state().sent == 6)
    assert keys_of(fake) == keys
    fake.seen.clear()
    with SyncAPIService(fake.url, "llmr_pk_another") as stranger:  # another account's key has another file
        assert stranger.flush().pending == 0
    assert not fake.seen


PROGRAM = """
import sys, os, signal
from llmring.api import APIService
api = APIService(sys.argv[1], sys.argv[2], flush_interval_s=3600, batch_size=1000)
for number in range(int(sys.argv[4])):
    api.queue_usage(model="m", provider="p", idempotency_key=f"{sys.argv[3]}-{number}")
if sys.argv[5] == "killed":
    assert api.persist()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run_program(fake: FakeServer, name: str, count: int, end: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(FOREIGN)}
    arguments = [sys.executable, "-c", PROGRAM, fake.url, KEY, name, str(count), end]
    return subprocess.Popen(arguments, env=environment)


def test_what_is_on_disk_survives_kill_9_and_two_programs_send_it_once(fake: FakeServer) -> None:
    killed = run_program(fake, "killed", 1500, "killed")
    assert killed.wait(60) == -signal.SIGKILL
    assert not [key for key in keys_of(fake) if fake.seen]  # it had no time to send
    fake.handler = accept_all
    programs = [
        run_program(fake, name, 300, "ends") for name in ("a", "b")
    ]  # at exit they send what they have
    assert [program.wait(60) for program in programs] == [0, 0]
    with SyncAPIService(fake.url, KEY) as last:
        assert last.flush().pending == 0
    counts = Counter(keys_of(fake))
    wanted = {f"killed-{n}" for n in range(1500)} | {f"{name}-{n}" for name in "ab" for n in range(300)}
    assert set(counts) == wanted
    assert set(counts.values()) == {1}


def test_programs_that_make_the_file_at_once_all_use_it(fake: FakeServer, tmp_path: Path) -> None:
    fake.answer(problem(503, "unavailable", headers={"Retry-After": "600"}))
    programs = [run_program(fake, name, 100, "ends") for name in "abcd"]
    assert [program.wait(60) for program in programs] == [0] * 4
    [file] = (tmp_path / "state").glob("*.sqlite3")
    assert file.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (400,)


def test_a_leased_record_of_a_program_that_hangs_is_sent_after_its_lease(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.handler = accept_all
    path = tmp_path / "queue"
    hanging = UsageQueue(None, path)
    hanging.put(RECORD | {"idempotency_key": "left"})
    assert hanging.persist()
    with sqlite3.connect(path) as other:
        # A program of another machine holds it.
        other.execute(
            "UPDATE records SET lease_owner = 'elsewhere:1:x', lease_until = ?", (time.time() + 1.5,)
        )
    with SyncAPIService(fake.url, KEY, queue_path=path) as api:
        assert api.flush(timeout_s=0.3).pending == 1
        assert not fake.seen
        assert api.flush(timeout_s=20).pending == 0
    assert keys_of(fake) == ["left"]
    hanging.close()


def _child(api: APIService, expected: int, results: Any) -> None:
    state = api.queue_state()
    api.queue_usage(**RECORD, idempotency_key="child")
    after = api.flush()
    results.put((state.pending, after.sent, api.get_public_keys().keys == []))
    api.close()


def test_a_forked_child_has_a_queue_of_its_own(fake: FakeServer, api: APIService) -> None:
    fake.handler = lambda seen: Reply(200, {"keys": []}) if seen.method == "GET" else accept_all(seen)
    assert api.get_public_keys().keys == []  # a connection is open
    for number in range(5):
        api.queue_usage(**RECORD, idempotency_key=f"parent-{number}")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_child, args=(api, 0, results))
    child.start()
    pending, sent, read = results.get(timeout=60)
    child.join(30)
    assert (pending, read, child.exitcode) == (0, True, 0)
    assert api.flush().pending == 0
    counts = Counter(
        record["idempotency_key"] for seen in fake.seen if seen.body for record in seen.body["logs"]
    )
    assert set(counts) == {"child"} | {f"parent-{number}" for number in range(5)}
    assert 1 <= sent <= 6 - api.queue_state().sent, "either may send what both have on disk"
    assert set(counts.values()) == {1}


def test_what_a_program_held_that_has_ended_is_free_for_one_that_runs(tmp_path: Path) -> None:
    store = QueueStore(tmp_path / "usage.sqlite3", None)
    store.add([NewRow("k", b"{}", None)])
    child = os.fork()
    if child == 0:
        held = QueueStore(tmp_path / "usage.sqlite3", None).lease(1)
        os._exit(len(held))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert [row.key for row in store.lease(1)] == ["k"]
    assert store.lease(1) == [], "now this program holds it"
    store.close()


def test_a_program_may_fork_at_any_moment(fake: FakeServer) -> None:
    fake.handler = accept_all
    api = open_api(fake, batch_size=5)
    children = []
    for fork in range(25):
        for number in range(20):
            api.queue_usage(**RECORD, idempotency_key=f"parent-{fork}-{number}")
        child = os.fork()
        if child == 0:
            api.queue_usage(**RECORD, idempotency_key=f"child-{fork}")
            os._exit(0 if api.close().dropped == 0 else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 25
    assert api.flush().pending == 0
    api.close()
    wanted = {f"parent-{fork}-{number}" for fork in range(25) for number in range(20)}
    counts = Counter(keys_of(fake))
    assert set(counts) == wanted | {f"child-{fork}" for fork in range(25)}
    assert set(counts.values()) == {1}


def test_queueing_costs_less_than_fifty_microseconds(fake: FakeServer) -> None:
    fake.handler = accept_all
    with SyncAPIService(fake.url, KEY, flush_interval_s=0.1) as api:
        api.queue_usage(**RECORD)
        api.flush()
        medians = []
        for _ in range(20):
            costs = []
            for number in range(200):
                started = time.perf_counter()
                api.queue_usage(
                    **RECORD, origin="bench", latency_ms=840, metadata={"user_id": "u", "n": number}
                )
                costs.append(time.perf_counter() - started)
            medians.append(statistics.median(costs))
            time.sleep(0.01)
        assert statistics.median(medians) < 50e-6
        assert api.flush().dropped == 0


def test_threads_queue_at_once(fake: FakeServer, api: APIService) -> None:
    fake.handler = accept_all

    def work() -> None:
        for _ in range(500):
            api.queue_usage(**RECORD)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert api.flush().sent == 4000
    assert len(set(keys_of(fake))) == 4000


def test_closing_twice_and_using_it_after_that_does_no_harm(
    fake: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    fake.handler = accept_all
    api = open_api(fake)
    api.queue_usage(**RECORD)
    assert api.close().sent == 1
    api.queue_usage(**RECORD)
    assert api.close().dropped == 1
    assert api.flush(timeout_s=0.1).sent == 1
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
