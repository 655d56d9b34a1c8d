-- Where accounts want to be told. Secrets are sealed with a key that is never in the database.
CREATE TABLE webhooks.endpoints (
    account_id       uuid        NOT NULL,
    endpoint_id      uuid        NOT NULL,
    url              text        NOT NULL,
    events           text[]      NOT NULL,
    description      text,
    status           text        NOT NULL CHECK (status IN ('enabled', 'disabled')),
    disabled_reason  text,
    disabled_at      timestamptz,
    failing_since    timestamptz,
    secret           bytea       NOT NULL,
    old_secret       bytea,
    old_secret_until timestamptz,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    PRIMARY KEY (account_id, endpoint_id),
    CHECK ((status = 'disabled') = (disabled_at IS NOT NULL)),
    CHECK ((old_secret IS NULL) = (old_secret_until IS NULL))
);

COMMENT ON COLUMN webhooks.endpoints.disabled_reason IS 'why the system disabled it; null where its owner did';
COMMENT ON COLUMN webhooks.endpoints.failing_since IS 'when the first of the attempts failed since the last success';

-- What is told, byte for byte. One message may go to many accounts.
CREATE TABLE webhooks.messages (
    message_id uuid        PRIMARY KEY,
    type       text        NOT NULL,
    body       bytea       NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX messages_by_age ON webhooks.messages (created_at);

-- One row for each message and endpoint that it goes to.
CREATE TABLE webhooks.deliveries (
    account_id      uuid        NOT NULL,
    endpoint_id     uuid        NOT NULL,
    message_id      uuid        NOT NULL REFERENCES webhooks.messages,
    status          text        NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
    tries           integer     NOT NULL DEFAULT 0,
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    claimed_until   timestamptz,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (account_id, endpoint_id, message_id),
    FOREIGN KEY (account_id, endpoint_id) REFERENCES webhooks.endpoints ON DELETE CASCADE,
    CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL))
) WITH (fillfactor = 70); -- room to update rows in place

COMMENT ON COLUMN webhooks.deliveries.tries IS 'attempts since it was asked for, or asked for again: what the schedule counts';
COMMENT ON COLUMN webhooks.deliveries.attempts IS 'all attempts that are written down';
COMMENT ON COLUMN webhooks.deliveries.claimed_until IS 'until then one process delivers it, and no other does';

CREATE INDEX deliveries_pending ON webhooks.deliveries (endpoint_id, next_attempt_at) WHERE status = 'pending';
CREATE INDEX deliveries_due ON webhooks.deliveries (next_attempt_at) WHERE status = 'pending';
CREATE INDEX deliveries_newest_first ON webhooks.deliveries (account_id, endpoint_id, created_at DESC, message_id DESC);
CREATE INDEX deliveries_by_age ON webhooks.deliveries (created_at) WHERE status <> 'pending';
CREATE INDEX deliveries_of_message ON webhooks.deliveries (message_id);

CREATE TABLE webhooks.attempts (
    account_id   uuid        NOT NULL,
    endpoint_id  uuid        NOT NULL,
    message_id   uuid        NOT NULL,
    attempt      integer     NOT NULL,
    attempted_at timestamptz NOT NULL,
    duration_ms  integer     NOT NULL,
    http_status  integer,
    error        text,
    response     text,
    PRIMARY KEY (account_id, endpoint_id, message_id, attempt),
    FOREIGN KEY (account_id, endpoint_id, message_id) REFERENCES webhooks.deliveries ON DELETE CASCADE
);

COMMENT ON COLUMN webhooks.attempts.response IS 'the beginning of what was answered';

-- What tells the right sealing key from another one. One row.
CREATE TABLE webhooks.sealing_key (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    fingerprint bytea   NOT NULL
);

-- How far each consumer has applied its topic, moved in the transaction that writes the deliveries.
CREATE TABLE webhooks.positions (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    next_offset    bigint      NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);
