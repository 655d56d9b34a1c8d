"""Redis, as `redis-server` on the path."""

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.servers.process import ServerProcess
from tests.servers.server import MissingServerError

DATABASES = 64


class RedisProcess(ServerProcess):
    """A Redis in memory only."""

    name = "redis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        found = shutil.which("redis-server")
        if found is None:
            raise MissingServerError("redis-server is not installed")
        self._binary = found

    def command(self) -> Sequence[str]:
        return [
            *(
                self._binary,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ),
            *(
                "--databases",
                str(DATABASES),
                "--dir",
                str(self.folder),
                "--unixsocket",
                str(self.folder / "redis"),
            ),
        ]

    def ready(self) -> bool:
        try:
            return ask_redis(self.address, "PING").startswith("+PONG")
        except OSError:
            return False


def ask_redis(address: str, *commands: str) -> str:
    """Send inline commands and return the raw answers: enough to ping and to flush without a driver."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall("".join(f"{command}\r\n" for command in commands).encode())
        answer = b""
        while answer.count(b"\r\n") < len(commands):
            part = connection.recv(4096)
            if not part:
                raise ConnectionError("Redis closed the connection")
            answer += part
    return answer.decode()
