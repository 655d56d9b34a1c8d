"""The event log on Kafka, for production."""

from shared.event_log.kafka.log import KafkaEventLog, open_kafka_event_log

__all__ = ["KafkaEventLog", "open_kafka_event_log"]
