"""Three brokers that copy from one another, as in production."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.servers.kafka.broker import KafkaProcess

REPLICATED = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


class KafkaCluster:
    """Brokers 1, 2 and 3, each also a controller."""

    def __init__(self, folder: Path) -> None:
        self.brokers = {number: KafkaProcess(folder / str(number), number) for number in (1, 2, 3)}
        voters = ",".join(broker.voters for broker in self.brokers.values())
        for broker in self.brokers.values():
            broker.voters = voters
            broker.settings = REPLICATED

    @property
    def address(self) -> str:
        """All brokers, as a client takes them."""
        return ",".join(broker.address for broker in self.brokers.values())

    def start(self) -> None:
        """Start all at once: none of them serves before there is a majority."""
        with ThreadPoolExecutor(len(self.brokers)) as threads:
            list(threads.map(lambda broker: broker.start(), self.brokers.values()))

    def destroy(self) -> None:
        """Stop all and forget the data."""
        for broker in self.brokers.values():
            broker.destroy()
