"""A Kafka broker from Maven's jars."""

from tests.servers.kafka.broker import KafkaProcess

__all__ = ["KafkaProcess"]
