-- One row for each accepted record. Every primary key leads with account_id, so that a distributed Postgres
-- can shard on it. `metadata` is the JSON text as it was sent; it was validated at acceptance.
CREATE TABLE usage.logs (
    account_id            uuid        NOT NULL,
    log_id                uuid        NOT NULL,
    occurred_at           timestamptz NOT NULL,
    received_at           timestamptz NOT NULL,
    key_id                uuid        NOT NULL,
    provider              text        NOT NULL,
    model                 text        NOT NULL,
    model_key             text,
    model_group           text        NOT NULL,
    input_tokens          bigint      NOT NULL,
    output_tokens         bigint      NOT NULL,
    cached_input_tokens   bigint      NOT NULL,
    cache_write_5m_tokens bigint      NOT NULL,
    cache_write_1h_tokens bigint      NOT NULL,
    reasoning_tokens      bigint      NOT NULL,
    audio_input_tokens    bigint      NOT NULL,
    audio_output_tokens   bigint      NOT NULL,
    service_tier          text        NOT NULL,
    alias                 text,
    profile               text,
    origin                text,
    id_at_origin          text,
    latency_ms            bigint,
    metadata              text,
    client_cost           numeric,
    calculated_cost       numeric,
    calculated_status     text        NOT NULL,
    cost                  numeric,
    cost_status           text        NOT NULL,
    registry_version      text,
    cost_breakdown        text        NOT NULL,
    PRIMARY KEY (account_id, log_id)
);

CREATE INDEX logs_newest_first ON usage.logs (account_id, occurred_at DESC, log_id DESC);

COMMENT ON COLUMN usage.logs.model IS 'the name as the caller sent it';
COMMENT ON COLUMN usage.logs.model_key IS 'the registry key it resolved to; null when it is in no registry';
COMMENT ON COLUMN usage.logs.model_group IS 'what statistics count it under: the key, else provider:model';
COMMENT ON COLUMN usage.logs.cost IS 'what every sum uses: client_cost where given, else calculated_cost; null is unpriced';

-- Sums for statistics, in two grains: UTC days, and quarters of an hour, of which the days of every time zone
-- are made since 1972. An absent origin or alias stands as ''.
CREATE TABLE usage.rollups (
    account_id          uuid        NOT NULL,
    grain               "char"      NOT NULL CHECK (grain IN ('d', 'q')),
    bucket_at           timestamptz NOT NULL,
    provider            text        NOT NULL,
    model_group         text        NOT NULL,
    origin              text        NOT NULL,
    alias               text        NOT NULL,
    requests            bigint      NOT NULL,
    unpriced_requests   bigint      NOT NULL,
    cost                numeric     NOT NULL,
    input_tokens        bigint      NOT NULL,
    output_tokens       bigint      NOT NULL,
    cached_input_tokens bigint      NOT NULL,
    timed_requests      bigint      NOT NULL,
    latency_ms          numeric     NOT NULL,
    PRIMARY KEY (account_id, grain, bucket_at, provider, model_group, origin, alias)
);

-- How many requests fell into each latency bucket (see latency.py). The row whose names are all '' counts the
-- whole account, so that unfiltered percentiles read few rows.
CREATE TABLE usage.latency_rollups (
    account_id     uuid        NOT NULL,
    grain          "char"      NOT NULL CHECK (grain IN ('d', 'q')),
    bucket_at      timestamptz NOT NULL,
    provider       text        NOT NULL,
    model_group    text        NOT NULL,
    origin         text        NOT NULL,
    alias          text        NOT NULL,
    latency_bucket smallint    NOT NULL,
    requests       bigint      NOT NULL,
    PRIMARY KEY (account_id, grain, provider, model_group, origin, alias, bucket_at, latency_bucket)
);

-- What each idempotency key stands for, for ever: the digest of the body, and the event that was answered.
CREATE TABLE usage.claims (
    account_id  uuid        NOT NULL,
    log_id      uuid        NOT NULL,
    body_digest bytea       NOT NULL,
    event       bytea       NOT NULL,
    claimed_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, log_id)
);

-- How far each consumer has come, moved in the transaction that holds the results (compare and set).
CREATE TABLE usage.positions (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    next_offset    bigint      NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
);
