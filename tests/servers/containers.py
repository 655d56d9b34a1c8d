"""The same servers as containers, by testcontainers, where a Docker daemon answers."""

import functools
import os
import shutil
import subprocess
from typing import Any

from tests.servers.kafka.broker import SETTINGS
from tests.servers.postgres import FAST
from tests.servers.process import answers, find_free_port, wait_until
from tests.servers.redis import DATABASES


@functools.cache
def docker_answers() -> bool:
    """Whether containers can be used; `LLMRING_TEST_DOCKER=0` says no without asking."""
    if os.environ.get("LLMRING_TEST_DOCKER") == "0" or shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class ServerContainer:
    """A container whose port on this machine stays the same over a restart."""

    def __init__(self, image: str, port: int, command: str = "", **env: str) -> None:
        from testcontainers.core.container import DockerContainer

        self.port = find_free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._name = image
        self._wanted = DockerContainer(image).with_bind_ports(port, self.port).with_envs(**env)
        if command:
            self._wanted = self._wanted.with_command(command)
        self._container: Any = None

    def start(self) -> None:
        if self._container is None:
            self._container = self._wanted.start().get_wrapped_container()
        else:
            self._container.start()
        wait_until(self.ready, 90, self._name)

    def ready(self) -> bool:
        return answers(self.address)

    def kill(self) -> None:
        self._container.kill()
        self._container.wait()

    def pause(self) -> None:
        self._container.pause()

    def resume(self) -> None:
        self._container.unpause()

    def stop(self) -> None:
        self._container.stop()

    def destroy(self) -> None:
        if self._container is not None:
            self._container.remove(force=True, v=True)

    def handle(self) -> dict[str, str]:
        return {} if self._container is None else {"container": self._container.id}


class PostgresContainer(ServerContainer):
    """Postgres 18 with the same settings as the process has."""

    def __init__(self, *, durable: bool) -> None:
        settings = ["max_connections=300", *(() if durable else FAST)]
        command = " ".join(["postgres", *(f"-c {setting}" for setting in settings)])
        super().__init__("postgres:18", 5432, command, POSTGRES_HOST_AUTH_METHOD="trust")

    def ready(self) -> bool:
        # The image's first start runs a temporary server without TCP; Docker's proxy accepts meanwhile.
        done = self._container.exec_run(["pg_isready", "-q", "-h", "127.0.0.1"])
        return bool(done.exit_code == 0)


class KafkaContainer(ServerContainer):
    """The Apache image as a single broker; it advertises the port of this machine."""

    def __init__(self) -> None:
        env = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in SETTINGS.items()}
        super().__init__("apache/kafka:4.3.1", 9092, **env)
        self._wanted.with_envs(
            KAFKA_LISTENERS="PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093",
            KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://{self.address}",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@127.0.0.1:9093",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        )

    def ready(self) -> bool:
        done = self._container.exec_run(
            ["/opt/kafka/bin/kafka-broker-api-versions.sh", "--bootstrap-server", "127.0.0.1:9092"]
        )
        return bool(done.exit_code == 0)


class RedisContainer(ServerContainer):
    """Redis in memory only."""

    def __init__(self) -> None:
        super().__init__("redis:8", 6379, f"redis-server --save '' --appendonly no --databases {DATABASES}")

    def ready(self) -> bool:
        return bool(self._container.exec_run(["redis-cli", "ping"]).exit_code == 0)


def remove_container(identity: str) -> None:
    """Remove a container that another process started."""
    subprocess.run(["docker", "rm", "-f", "-v", identity], capture_output=True, check=False)
