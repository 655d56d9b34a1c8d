"""A TCP link between processes that can be slow, cut, or swallow everything."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Sequence

from tests.servers.process import find_free_port

_CHUNK_BYTES = 64 * 1024
_CONNECT_S = 1.0


class Link:
    """Forwards connections made to `address` to the first of its targets, in turn, that takes them.

    Attributes:
        delay_s: how late each piece arrives, in both directions, give or take half of it.
    """

    def __init__(self, targets: Sequence[str], port: int | None = None) -> None:
        self.port = port or find_free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.delay_s = 0.0
        self._turns = itertools.cycle(range(len(targets)))
        self._targets = list(targets)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = {}
        self._forgotten: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Take connections (again)."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_CHUNK_BYTES)

    async def cut(self) -> None:
        """Reset every connection and refuse new ones, until `open`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    def reset(self) -> None:
        """Reset every connection; new ones are taken."""
        for ends in list(self._pairs.values()):
            for writer in ends:
                _reset(writer)

    def swallow(self) -> None:
        """Let nothing through, in either direction, until `let_through`; connections seem to stand."""
        self._flowing.clear()

    def let_through(self) -> None:
        """Pass on what was held back since `swallow`, and everything after it."""
        self._flowing.set()

    def forget(self) -> None:
        """Swallow what goes over the present connections for ever, and tell neither end; new ones work.

        This is what a balancer or a firewall does that has lost its table of connections.
        """
        for ends in self._pairs.values():
            self._forgotten.update(writer for writer in ends if writer is not None)

    async def close(self) -> None:
        """Cut, and wait for the end of what was going on."""
        self.let_through()
        tasks = list(self._pairs)
        await self.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = (writer, None)
        far_writer: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            far_reader, far_writer = await self._connect()
            self._pairs[task] = (writer, far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except (OSError, EOFError):
            _reset(writer)
        except asyncio.CancelledError:
            pass  # by `close`; the server of streams would report it as a failure
        finally:
            self._pairs.pop(task, None)
            for each in (writer, far_writer):
                if each is not None:
                    self._forgotten.discard(each)
                    each.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self._targets:
            host, _, port = self._targets[next(self._turns)].rpartition(":")
            with contextlib.suppress(OSError):
                async with asyncio.timeout(_CONNECT_S):
                    return await asyncio.open_connection(host, int(port), limit=_CHUNK_BYTES)
        raise ConnectionRefusedError("nobody takes the connection")

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_CHUNK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s * random.uniform(0.5, 1.5))
            await self._flowing.wait()
            if writer not in self._forgotten:
                writer.write(piece)
                await writer.drain()
        if writer not in self._forgotten and writer.can_write_eof():
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter | None) -> None:
    if writer is not None:
        transport = writer.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
