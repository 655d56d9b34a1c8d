"""One broker that is its own controller (KRaft), with a small heap.

A broker spends most of its start on loading classes, and would start a second JVM to format its disk. What
both come to is kept in the cache folder, as the kit: a class archive, which a JVM maps, and a formatted disk.
"""

import base64
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from tests.servers.kafka.jars import cache_folder, find_jars, find_java
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
        self.properties = folder / "server.properties"
        self._disk = folder / "data"
        find_java()  # what this machine lacks is said before anything starts

    def prepare(self) -> None:
        settings = SETTINGS | {
            "node.id": str(self.node_id),
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": self.voters,
            "log.dirs": str(self._disk),
        }
        settings |= self.settings
        self.properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.format()

    def format(self) -> None:
        """Lay out the disk as Kafka's own tool did once, under a number and a name of its own."""
        shutil.copytree(_find_kit() / "disk", self._disk)
        identity = self._disk / "meta.properties"
        text = re.sub(r"(?m)^node\.id=.*$", f"node.id={self.node_id}", identity.read_text())
        identity.write_text(re.sub(r"(?m)^directory\.id=.*$", f"directory.id={_make_id()}", text))

    def command(self) -> Sequence[str]:
        archive = f"-XX:SharedArchiveFile={_find_kit() / 'classes'}"
        return [*_java(), archive, "kafka.Kafka", str(self.properties)]


class _FirstBroker(KafkaProcess):
    """The broker that the kit is taken from."""

    def format(self) -> None:
        done = subprocess.run(
            [*_java(), "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self.properties)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise MissingServerError(f"Kafka's storage could not be formatted: {done.stdout}{done.stderr}")
        shutil.copytree(self._disk, self.folder / "kit" / "disk")

    def stops_by_itself(self) -> bool:
        """Stop it, which writes the archive; whether it came to its end, or had to be killed."""
        self.stop()
        return self._process is not None and self._process.returncode != -signal.SIGKILL

    def command(self) -> Sequence[str]:
        archive = f"-XX:ArchiveClassesAtExit={self.folder / 'kit' / 'classes'}"
        return [*_java(), archive, "kafka.Kafka", str(self.properties)]


@cache
def _java() -> list[str]:
    # The archive is bound to this very class path, so its order must not be the folder's.
    jars = ":".join(sorted(str(jar) for jar in find_jars().glob("*.jar")))
    options = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    return [find_java(), *options, "-cp", jars]


@cache
def _find_kit() -> Path:
    """The kit of this Java and these jars. Should its class archive not come about, brokers start slower."""
    version = subprocess.run([find_java(), "-version"], capture_output=True, check=True).stderr
    key = sha256(version + " ".join(_java()).encode()).hexdigest()[:16]
    kit = cache_folder() / f"kafka-kit-{key}"
    with FileLock(f"{kit}.lock"):
        if not kit.exists():
            folder = Path(tempfile.mkdtemp(dir=cache_folder()))
            first = _FirstBroker(folder / "broker")
            try:
                first.start()
                if not first.stops_by_itself():
                    (first.folder / "kit" / "classes").unlink(missing_ok=True)  # half of it may be there
                (first.folder / "kit").rename(kit)
            finally:
                first.destroy()
                shutil.rmtree(folder, ignore_errors=True)
    return kit


def _make_id() -> str:
    """A name in Kafka's spelling; one that began with a dash would be read as an option."""
    return "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
