"""Whether a process ended that nobody ended, and what the processes complain of in their logs."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import msgspec

from tests.chaos.cluster import Cluster


class _Line(msgspec.Struct):
    level: str = ""
    logger: str = ""
    message: str = ""


_decoder = msgspec.json.Decoder(_Line)


class Watch:
    """Starts what ended by itself again, as an orchestrator would, and takes it down.

    Attributes:
        complaints: what ended by itself.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.complaints: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look on while the block runs."""
        task = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(0.3)
            for program in list(self._cluster.programs.values()):
                status = program.find_exit()
                if program.expected and status is not None:
                    self.complaints.append(f"{program.name} ended by itself with status {status}")
                    program.start()

    def count_error_lines(self) -> dict[str, int]:
        """Log lines of level ERROR by process kind and message; a person would have to look at each."""
        found: Counter[str] = Counter()
        for log in self._cluster.logs.glob("*.log"):
            kind = log.stem.partition("-")[0]
            for line in log.read_bytes().splitlines():
                try:
                    entry = _decoder.decode(line)
                except msgspec.MsgspecError:
                    if line.startswith(b"Traceback"):
                        found[f"{kind}: a traceback outside the log"] += 1
                    continue
                if entry.level.upper() in ("ERROR", "CRITICAL"):
                    found[f"{kind}: {entry.logger}: {entry.message[:120]}"] += 1
        return dict(found.most_common(40))
