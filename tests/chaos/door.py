"""Every question to the public door, with what it answered and how long that took."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

import aiohttp

LONGEST_ANSWER_S = 20.0
"""A request that is not answered by then is not answered in bounded time."""

_UNEXPECTED_KEPT = 60


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        """One header, if it is there."""
        return self.headers.get(name)


class Door:
    """Asks, and keeps account of the answers.

    Attributes:
        faults_now: the names of the faults that are going on; whoever causes them keeps it up to date.
        statuses: answers by purpose and status.
        silences: requests without an answer (refused, reset, given up) by fault.
        slowest_ms: the slowest answer by purpose.
        slowest_by_fault_ms: the slowest answer by the fault during which it came.
        unexpected: answers that nobody should get, in words.
        stale: complete answers that lacked acknowledged records, by fault.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self.faults_now: set[str] = set()
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.silences: Counter[str] = Counter()
        self.slowest_ms: dict[str, float] = {}
        self.slowest_by_fault_ms: dict[str, float] = {}
        self.unexpected: list[str] = []
        self.unexpected_count = 0
        self.stale: Counter[str] = Counter()

    async def open(self) -> None:
        """Be ready to ask."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=20),
            timeout=aiohttp.ClientTimeout(total=LONGEST_ANSWER_S),
        )

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        body: bytes | None = None,
        purpose: str,
        expected: Collection[int],
    ) -> Answer | None:
        """Ask once. None: there was no answer.

        429 and 503 are always expected, and must say when to come back.
        """
        assert self._session is not None
        headers = {"X-API-Key": key} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        started = time.monotonic()
        try:
            async with self._session.request(
                method, self._url + path, data=body, headers=headers
            ) as response:
                answer = Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            elapsed_s = time.monotonic() - started
            self.silences[self._now()] += 1
            if elapsed_s > LONGEST_ANSWER_S - 1 and not self.is_gateway_away():
                self.note_unexpected(f"{purpose}: no answer in {elapsed_s:.0f} s ({type(error).__name__})")
            return None
        self._measure(purpose, (time.monotonic() - started) * 1000)
        self.statuses[purpose, answer.status] += 1
        if answer.status in (429, 503):
            if not (answer.header("Retry-After") or "").isdigit():
                self.note_unexpected(f"{purpose}: {answer.status} without Retry-After")
        elif answer.status not in expected:
            self.note_unexpected(f"{purpose}: {answer.status} {answer.body[:300]!r}")
        return answer

    async def ask_until(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        body: bytes | None = None,
        purpose: str,
        wanted: int,
        also: Collection[int] = (),
        seconds: float = 120,
    ) -> Answer:
        """Ask again and again until the status is the wanted one; those in `also` are put up with.

        Raises:
            TimeoutError: it never was.
        """
        async with asyncio.timeout(seconds):
            while True:
                answer = await self.ask(
                    method, path, key=key, body=body, purpose=purpose, expected=(wanted, *also)
                )
                if answer is not None and answer.status == wanted:
                    return answer
                await asyncio.sleep(0.15)

    def count_refusals(self) -> int:
        """How many requests to record something were answered 503."""
        return self.statuses["log", 503] + self.statuses["batch", 503]

    def note_stale(self) -> None:
        """Note that statistics called themselves complete and were not."""
        self.stale[self._now()] += 1

    def _now(self) -> str:
        return " + ".join(sorted(self.faults_now)) or "none"

    def note_unexpected(self, what: str) -> None:
        """Keep what nobody should see, with the faults of the moment."""
        self.unexpected_count += 1
        if len(self.unexpected) < _UNEXPECTED_KEPT:
            self.unexpected.append(f"during {self._now()}: {what}")

    def _measure(self, purpose: str, elapsed_ms: float) -> None:
        self.slowest_ms[purpose] = max(elapsed_ms, self.slowest_ms.get(purpose, 0.0))
        if self.is_gateway_away():
            return
        for fault in self.faults_now or ("none",):
            self.slowest_by_fault_ms[fault] = max(elapsed_ms, self.slowest_by_fault_ms.get(fault, 0.0))

    def is_gateway_away(self) -> bool:
        """Whether the door itself is what is being broken: then nobody can answer."""
        return any("gateway" in fault or fault.startswith("power_cut") for fault in self.faults_now)
