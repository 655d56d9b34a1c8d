"""Running `member` as a process that a test kills."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def member(*arguments: str) -> AsyncIterator[Process]:
    """The process; it is killed at the end, if it was not before."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.event_log.member",
        *arguments,
        stdout=PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdout is not None:
            await process.stdout.read()
        await process.wait()


async def read_lines(process: Process, count: int, seconds: float = 60) -> list[str]:
    """The next lines that it prints."""
    assert process.stdout is not None
    async with asyncio.timeout(seconds):
        return [(await process.stdout.readline()).decode().strip() for _ in range(count)]


async def kill_and_read_rest(process: Process) -> list[str]:
    """SIGKILL, then the complete lines that were printed before."""
    process.kill()
    assert process.stdout is not None
    rest = (await process.stdout.read()).decode()
    await process.wait()
    return rest[: rest.rfind("\n") + 1].splitlines()
