"""The metrics of the system: their names, units and meanings. That of requests is in `requests.py`.

A name starts with `llmring_` and ends with its unit, seconds, records or bytes; a counter ends with `_total`.
A label has few values: never an id, a key, a path as it was sent, or anything else that a caller chose.
"""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left its return type out

REGISTRY: Final = CollectorRegistry(auto_describe=True)
"""The metrics of this process, those of Python and of the process itself included."""

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of durations."""

_RECORDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

RECORDS_ACCEPTED: Final = Counter(
    "llmring_records_accepted_total",
    "Usage records acknowledged as durable, those of batches included, repeated ones not.",
    registry=REGISTRY,
)
IDEMPOTENT_REPLAYS: Final = Counter(
    "llmring_idempotent_replays_total",
    "Usage records answered as an earlier one with the same idempotency key was, and not counted again.",
    registry=REGISTRY,
)
RECORDS_RATED: Final = Counter(
    "llmring_records_rated_total",
    "Usage records stored and added up by the rater, each once.",
    registry=REGISTRY,
)
RECORDS_UNPRICED: Final = Counter(
    "llmring_records_unpriced_total",
    "Those of the rated records that have no cost, by the status that says why.",
    ["status"],
    registry=REGISTRY,
)
RECORDS_REPRICED: Final = Counter(
    "llmring_records_repriced_total",
    "Records whose cost was unknown when they were rated, and was found later.",
    registry=REGISTRY,
)
RECORDS_DELETED: Final = Counter(
    "llmring_records_deleted_total",
    "Single records that were older than their account's retention, and were deleted.",
    registry=REGISTRY,
)
RESERVATIONS: Final = Counter(
    "llmring_reservations_total",
    "Wishes to reserve a part of a budget that were decided: granted, refused, or found, as a repeat.",
    ["outcome"],
    registry=REGISTRY,
)
RECEIPTS_ISSUED: Final = Counter(
    "llmring_receipts_issued_total",
    "Receipts signed and stored, by kind: recorded, superseding, declared, statement.",
    ["kind"],
    registry=REGISTRY,
)

UNWITNESSED_SECONDS: Final = Gauge(
    "llmring_receipts_unwitnessed_seconds",
    "For how many seconds the receipts' log has had a checkpoint beyond the newest one with enough "
    "cosignatures; 0 where there is none, or no witnesses.",
    registry=REGISTRY,
)
RECEIPTS_LOG_DAMAGED: Final = Gauge(
    "llmring_receipts_log_damaged",
    "1 where what is stored of the receipts' log is not what was signed: no receipt is issued once the tile "
    "at its edge is full. Looked at every ten seconds.",
    registry=REGISTRY,
)

TLS_RENEWAL_FAILED: Final = Gauge(
    "llmring_tls_renewal_failed",
    "1 while the certificate files hold something that cannot be used, and an older certificate is in use.",
    registry=REGISTRY,
)
CONNECTIONS: Final = Gauge(
    "llmring_http_connections",
    "Connections of clients that are open at the public port.",
    registry=REGISTRY,
)
CONNECTIONS_REFUSED: Final = Counter(
    "llmring_http_connections_refused_total",
    "Connections that were closed at once since there were too many, altogether or of that client.",
    registry=REGISTRY,
)

UPSTREAM_AWAY: Final = Gauge(
    "llmring_upstream_away",
    "1 while the circuit to a service is open: nothing is sent to it but a probe, twice a second.",
    ["upstream"],
    registry=REGISTRY,
)
UPSTREAM_FAILURES: Final = Counter(
    "llmring_upstream_failures_total",
    "Requests to a service that got no answer: nobody was there, the connection broke, or it was silent.",
    ["upstream"],
    registry=REGISTRY,
)
UPSTREAM_REPEATS: Final = Counter(
    "llmring_upstream_repeats_total",
    "Those of them that were sent once more, since that could not do anything twice.",
    ["upstream"],
    registry=REGISTRY,
)

APPEND_SECONDS: Final = Histogram(
    "llmring_event_log_append_duration_seconds",
    "How long one store in the event log took, from sending a batch of appends to its durable "
    "acknowledgement, in seconds. An append waits for one to two of them.",
    buckets=SECONDS,
    registry=REGISTRY,
)
APPEND_RECORDS: Final = Histogram(
    "llmring_event_log_append_records",
    "Records that shared one store in the event log.",
    buckets=_RECORDS,
    registry=REGISTRY,
)
APPEND_FAILURES: Final = Counter(
    "llmring_event_log_append_failures_total",
    "Stores in the event log that were not acknowledged. They are tried again while their callers wait.",
    registry=REGISTRY,
)

CONSUMER_LAG: Final = Gauge(
    "llmring_consumer_lag_records",
    "Records of a partition that a group has not applied: the end of the partition less the stored position. "
    "Every member reports all partitions of its group, so take the maximum over instances. Sampled every few "
    "seconds.",
    ["group", "topic", "partition"],
    registry=REGISTRY,
)
SLICE_RECORDS: Final = Histogram(
    "llmring_consumer_slice_records",
    "Records that a consumer applied in one transaction.",
    ["group"],
    buckets=_RECORDS,
    registry=REGISTRY,
)
APPLY_SECONDS: Final = Histogram(
    "llmring_consumer_apply_duration_seconds",
    "How long a consumer took to apply a slice, to its commit, in seconds.",
    ["group"],
    buckets=SECONDS,
    registry=REGISTRY,
)
CONSUMER_RETRIES: Final = Counter(
    "llmring_consumer_retries_total",
    "Times that a consumer had to try again, by what did not work: 'read', 'apply', or 'fenced' where "
    "another member had applied the slice.",
    ["group", "reason"],
    registry=REGISTRY,
)
DEAD_LETTERS: Final = Counter(
    "llmring_dead_letters_total",
    "Records set aside in usage.dead, by the topic they came from. One that is set aside again after a crash "
    "counts again.",
    ["topic"],
    registry=REGISTRY,
)
OUTBOX_SECONDS: Final = Gauge(
    "llmring_outbox_oldest_age_seconds",
    "How long the oldest event of an outbox has been waiting for the event log, in seconds, by topic; 0 "
    "where none waits.",
    ["topic"],
    registry=REGISTRY,
)

MAILS: Final = Counter(
    "llmring_mails_total",
    "Mails by kind and by what became of them: 'sent'; 'failed' at an attempt, to be tried again; 'refused' "
    "by the mail server for good, or because none is set; 'given_up' after a day; 'dropped' since nobody has "
    "the address, or has had too many.",
    ["kind", "outcome"],
    registry=REGISTRY,
)

WEBHOOK_DELIVERIES: Final = Counter(
    "llmring_webhook_deliveries_total",
    "Messages that were put on their way to a webhook, by type of event; one to several counts for each.",
    ["type"],
    registry=REGISTRY,
)
WEBHOOK_ATTEMPTS: Final = Counter(
    "llmring_webhook_attempts_total",
    "Attempts to deliver a message, by what came of them: 'delivered'; 'refused' by an answer that is not "
    "2xx; 'unanswered'; 'lost' where another process had taken over, or the webhook was gone.",
    ["outcome"],
    registry=REGISTRY,
)
WEBHOOK_SECONDS: Final = Histogram(
    "llmring_webhook_attempt_duration_seconds",
    "How long one attempt to deliver a message took, from looking up the name to the last byte, in seconds.",
    buckets=SECONDS,
    registry=REGISTRY,
)
WEBHOOK_WAITING_SECONDS: Final = Gauge(
    "llmring_webhook_oldest_due_seconds",
    "For how long the oldest delivery has been due that nobody has taken yet, in seconds; 0 where none is. "
    "Sampled every few seconds.",
    registry=REGISTRY,
)
WEBHOOKS_DISABLED: Final = Counter(
    "llmring_webhooks_disabled_total",
    "Webhooks that were disabled, by reason: 'gone' for an answer of 410, 'failing' for days of failures.",
    ["reason"],
    registry=REGISTRY,
)

RATE_LIMIT_DEGRADED: Final = Gauge(
    "llmring_rate_limit_degraded",
    "1 while Redis is away and this process counts rate limits by itself, else 0.",
    registry=REGISTRY,
)

SPANS: Final = Counter(
    "llmring_telemetry_spans_total",
    "Spans by what became of them: 'ended', and of those 'exported' or 'failed'. The rest waits, or was "
    "dropped because the collector is too slow.",
    ["outcome"],
    registry=REGISTRY,
)
METRIC_PUSHES: Final = Counter(
    "llmring_telemetry_metric_pushes_total",
    "Pushes of these metrics to the collector, by outcome: 'exported' or 'failed'.",
    ["outcome"],
    registry=REGISTRY,
)
