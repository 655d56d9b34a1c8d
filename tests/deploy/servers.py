"""Real servers, set up as docker-compose.yml sets up its own."""

import asyncio
import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from shared.postgres import open_connection
from tests.conftest import leave_out
from tests.deploy.compose_file import read_command
from tests.deploy.local import Street
from tests.servers.kafka import KafkaProcess
from tests.servers.postgres import find_binaries
from tests.servers.redis import ask_redis
from tests.servers.server import MissingServerError, Server
from tests.servers.session import session_folder, start_server, write_note

PORTS: Final = {"postgres": 5432, "kafka": 9092, "redis": 6379}

_PLACES: Final = ("listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs")
"""Where Kafka is and keeps its data: that is another matter on this machine."""


@contextlib.contextmanager
def open_servers(kafka_settings: Mapping[str, str] | None = None) -> Iterator[dict[str, Server]]:
    """Postgres, Kafka and Redis with nothing in them, ended afterwards."""
    servers: dict[str, Server] = {}
    notes: list[Path] = []
    try:
        for kind in PORTS:
            name = f"{kind}-{secrets.token_hex(4)}"
            folder = session_folder() / name
            try:
                if kind == "kafka" and kafka_settings is not None:
                    servers[kind] = _start_kafka(folder, kafka_settings)
                else:
                    servers[kind] = start_server(kind, folder, durable=False)
            except MissingServerError as error:
                leave_out(kind, error)
            notes.append(write_note(name, servers[kind]))
        yield servers
    finally:
        for server in servers.values():
            server.destroy()
        for note in notes:
            note.unlink()


def put_on(street: Street, servers: Mapping[str, Server]) -> None:
    """The servers under the names by which containers know them."""
    for kind, server in servers.items():
        street.put(f"{kind}:{PORTS[kind]}", server.address)


def create_database(server: Server, *, user: str, password: str, database: str) -> None:
    """Do what the image of Postgres does at its first start."""
    asyncio.run(
        _execute(
            f"postgresql://postgres@{server.address}/postgres",
            f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'",
            f"CREATE DATABASE {database} OWNER {user}",
        )
    )


def configure_redis(server: Server, command: list[str]) -> None:
    """Do what the flags of a command line do."""
    flags = dict(zip(command[1::2], command[2::2], strict=True))
    password = flags.pop("--requirepass")
    lines = [f'CONFIG SET {flag.removeprefix("--")} "{value}"' for flag, value in flags.items()]
    answer = ask_redis(server.address, *lines, f'CONFIG SET requirepass "{password}"')
    assert answer.count("+OK") == len(lines) + 1, answer


def read_kafka_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What the image of Kafka makes of its environment: settings of the broker."""
    names = [name for name in environment if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"]
    settings = {name.removeprefix("KAFKA_").lower().replace("_", "."): environment[name] for name in names}
    return {name: value for name, value in settings.items() if name not in _PLACES}


def is_healthy(kind: str, server: Server, service: Mapping[str, Any]) -> bool:
    """Run the health check that docker-compose.yml has for a server, here."""
    port = server.address.rpartition(":")[2]
    command = [
        each.replace(str(PORTS[kind]), port).replace("valkey-cli", "redis-cli")
        for each in read_command(service["healthcheck"]["test"])
    ]
    environment = {
        **{name: str(value) for name, value in service["environment"].items()},
        "PATH": f"{find_binaries()}:{os.environ['PATH']}",
        "PGPORT": port,
    }
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def _start_kafka(folder: Path, settings: Mapping[str, str]) -> Server:
    try:
        server = KafkaProcess(folder)
    except MissingServerError:
        return start_server("kafka", folder, durable=False)
    server.settings = dict(settings)
    server.start()
    return server


async def _execute(url: str, *statements: str) -> None:
    connection = await open_connection(url, application_name="llmring-tests")
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
