"""Consumers rest while the process is busy with requests, and at no other time."""

import asyncio
import time
from typing import Any

import pytest

from shared.runtime import requests_first
from shared.runtime.requests_first import LONGEST_REST_IN_BULK_S, LONGEST_REST_S, RequestsFirst


async def timed(pace: RequestsFirst, records: int) -> float:
    """How long a rest after so many records takes."""
    started = time.monotonic()
    await pace.rest(records)
    return time.monotonic() - started


class OpenRequest:
    """A request that stays in flight."""

    def __init__(self, pace: RequestsFirst) -> None:
        self._end = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self._end.wait()

        self._task = asyncio.ensure_future(pace.count(app)({}, None, None))  # type: ignore[typeddict-item, arg-type]

    async def close(self) -> None:
        self._end.set()
        await self._task


async def test_nobody_rests_without_a_request_in_flight() -> None:
    assert await timed(RequestsFirst(), 1000) < 0.01


async def test_nobody_rests_long_while_there_is_time_to_spare() -> None:
    pace = RequestsFirst()
    request = OpenRequest(pace)
    await asyncio.sleep(0)
    assert await timed(pace, 1000) < LONGEST_REST_S / 2
    await request.close()


async def test_a_busy_process_rests_in_proportion_and_a_waiting_read_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "process_time", time.monotonic)  # as if it used a whole processor
    pace = RequestsFirst()
    request = OpenRequest(pace)
    await asyncio.sleep(0)
    assert await timed(pace, 1) < 0.1
    asyncio.get_running_loop().call_later(0.06, pace.hurry)
    assert await timed(pace, 1000) < LONGEST_REST_S / 2
    assert await timed(pace, 1000) > 0.9 * LONGEST_REST_S
    await request.close()
    assert await timed(pace, 1000) < 0.01


async def test_while_records_are_imported_the_rest_is_long_and_it_ends_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "process_time", lambda: time.monotonic() / 5)  # as an import does at least
    pace = RequestsFirst()
    request = OpenRequest(pace)
    await asyncio.sleep(0)
    with pace.bulk():
        asyncio.get_running_loop().call_later(0.5, pace.hurry)
        assert await timed(pace, 1) >= 0.49
        resting = asyncio.create_task(timed(pace, 1))
        await asyncio.sleep(0.1)
    assert 0.09 <= await resting < LONGEST_REST_S
    await request.close()


async def test_imports_that_go_on_and_on_share_with_the_consumers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "process_time", time.monotonic)  # as if it used a whole processor
    monkeypatch.setattr(requests_first, "BULK_S", 0.5)
    pace = RequestsFirst()
    request = OpenRequest(pace)
    await asyncio.sleep(0)
    with pace.bulk():
        asyncio.get_running_loop().call_later(0.4, pace.hurry)
        assert await timed(pace, 1) > 0.3
    await asyncio.sleep(0.2)
    with pace.bulk():  # soon after it is the same again
        assert await timed(pace, 1) < 0.1
    await request.close()


async def test_an_import_that_waits_for_its_client_holds_nobody_up() -> None:
    pace = RequestsFirst()
    request = OpenRequest(pace)
    await asyncio.sleep(0)
    with pace.bulk():
        assert await timed(pace, 1000) < LONGEST_REST_IN_BULK_S / 10
    await request.close()
