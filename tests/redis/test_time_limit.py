"""A limit that ends what hangs, and blames nobody for this process's own delay."""

import asyncio
import time

import pytest

from shared.redis.time_limit import TimeLimit


async def test_what_hangs_is_ended() -> None:
    before = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.05):
            await asyncio.sleep(60)
    assert 0.045 < time.monotonic() - before < 30


async def test_what_ends_in_time_is_left_alone() -> None:
    async with TimeLimit(10):
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.001)


async def test_an_answer_that_came_while_the_process_was_held_up_is_in_time() -> None:
    loop = asyncio.get_running_loop()
    for held_up_at in (0.0, 0.015, 0.03, 0.045):
        answer = loop.create_future()

        def hold_up(answer: asyncio.Future[str] = answer) -> None:
            time.sleep(0.3)
            # As the loop does it: the answer is noticed in the same round as the timer that is due.
            loop.call_soon(answer.set_result, "there")

        loop.call_later(held_up_at, hold_up)
        async with TimeLimit(0.05):
            assert await answer == "there"


async def test_a_process_that_is_always_held_up_comes_to_an_end_too() -> None:
    async def keep_busy() -> None:
        while True:
            time.sleep(0.03)  # noqa: ASYNC251 - holding up the loop is the point
            await asyncio.sleep(0)

    busy = asyncio.create_task(keep_busy())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60), TimeLimit(0.05):
            await asyncio.Event().wait()
    busy.cancel()


async def test_a_caller_who_leaves_is_cancelled_and_not_timed_out() -> None:
    async def wait() -> None:
        async with TimeLimit(10):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_is_passed_on() -> None:
    with pytest.raises(KeyError):
        async with TimeLimit(10):
            raise KeyError
