"""The event log on Kafka, for production."""

from shared.event_log.kafka.brokers import Brokers, Login, Mechanism, build_tls
from shared.event_log.kafka.log import KafkaEventLog, open_kafka_event_log

__all__ = ["Brokers", "KafkaEventLog", "Login", "Mechanism", "build_tls", "open_kafka_event_log"]
