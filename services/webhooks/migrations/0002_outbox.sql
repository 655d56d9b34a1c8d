-- What was done to endpoints, until the event log has it. A row is written in the transaction of the change.
CREATE TABLE webhooks.outbox (
    event_id   uuid        PRIMARY KEY,
    topic      text        NOT NULL,
    event_key  bytea       NOT NULL,
    value      bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
