"""One broker that is its own controller (KRaft), with a small heap."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers.kafka.jars import find_jars, find_java
from tests.servers.process import ServerProcess, find_free_port
from tests.servers.server import MissingServerError

CLUSTER_ID = "bGxtcmluZy10ZXN0cy0wMQ"

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker is let in again once its former self has timed out.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "log.cleaner.enable": "false",
}


class KafkaProcess(ServerProcess):
    """A single broker; its records outlive a SIGKILL, since they are in the page cache by then."""

    name = "kafka"

    def __init__(self, folder: Path, node_id: int = 1) -> None:
        super().__init__(folder)
        self.node_id = node_id
        self.controller = f"127.0.0.1:{find_free_port()}"
        self.voters = f"{node_id}@{self.controller}"
        self.settings: dict[str, str] = {}
        self._java = [
            *(
                find_java(),
                "-Xms128m",
                "-Xmx384m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xshare:auto",
            ),
            *("-cp", f"{find_jars()}/*"),
        ]

    def prepare(self) -> None:
        settings = SETTINGS | {
            "node.id": str(self.node_id),
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": self.voters,
            "log.dirs": str(self.folder / "data"),
        }
        settings |= self.settings
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        done = subprocess.run(
            [*self._java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise MissingServerError(f"Kafka's storage could not be formatted: {done.stdout}{done.stderr}")

    def command(self) -> Sequence[str]:
        return [*self._java, "kafka.Kafka", str(self.folder / "server.properties")]
