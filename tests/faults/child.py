"""Processes forked from a stem, as the test sees them."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.faults.calls import Made, Order, Report

_END_S = 40
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Report)


class Stem:
    """The process that forks, for one street.

    Args:
        topic_prefix: of this street's topics.
        folder: for logs.
    """

    def __init__(self, topic_prefix: str, folder: Path) -> None:
        self._folder = folder
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMRING")}
        with (folder / "stem.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.stem", str(theirs.fileno()), topic_prefix],
                pass_fds=[theirs.fileno()],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        theirs.close()
        self._orders.setblocking(False)
        self._busy = asyncio.Lock()

    async def fork(self, order: Order) -> "Child":
        """Start a process."""
        ours, theirs = os.pipe()
        path = self._folder / f"{order.process}-{secrets.token_hex(4)}.log"
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        async with self._busy:
            socket.send_fds(self._orders, [_encoder.encode(order)], [theirs, log])
            os.close(theirs)
            os.close(log)
            pid = await asyncio.get_running_loop().sock_recv(self._orders, 32)
        assert pid, f"the stem has ended:\n{(self._folder / 'stem.log').read_text()}"
        child = Child(int(pid), ours, path, order)
        await child.listen()
        return child

    def close(self) -> None:
        """End the stem and everything that it has forked."""
        self._orders.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Child:
    """One process of the product.

    Attributes:
        made: the calls that it has made, if they are counted.
        fired: set once its fault has struck.
        ended: set once it has ended.
        status: of its exit; None where it ended without a word.
    """

    def __init__(self, pid: int, report: int, log: Path, order: Order) -> None:
        self._report = report
        try:
            self._process: int | None = os.pidfd_open(pid)
        except ProcessLookupError:  # it was quick
            self._process = None
        self._log = log
        self.order = order
        self.made: list[Made] = []
        self.fired = asyncio.Event()
        self.ended = asyncio.Event()
        self.status: int | None = None

    async def listen(self) -> None:
        """Begin to take its reports."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        pipe = os.fdopen(self._report, "rb", buffering=0)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._listening = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            report = _decoder.decode(line)
            if report.made is not None:
                self.made.append(report.made)
            elif report.fired:
                self.fired.set()
            else:
                self.status = report.ended
        self.ended.set()

    def terminate(self) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to this process and no other, also when it has ended and its number is another's."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, number)

    async def wait_ended(self) -> int | None:
        """Wait until it has ended; its status.

        Raises:
            TimeoutError: it does not end.
        """
        async with asyncio.timeout(_END_S):
            await self.ended.wait()
        return self.status

    def tell(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def forget(self) -> None:
        """Let go of a process of which nothing more is to be told."""
        if self._process is not None:
            os.close(self._process)
            self._process = None
        self._log.unlink(missing_ok=True)
