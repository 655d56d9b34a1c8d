-- Who may use the deployment. `email_key` is what addresses are compared by (see emails.py); the unique index
-- on it, and nothing that was read before, decides whether an address is taken.
CREATE TABLE auth.accounts (
    account_id                  uuid        PRIMARY KEY,
    email                       text        NOT NULL,
    email_key                   text        NOT NULL UNIQUE,
    organization                text,
    password_hash               text,
    tier                        text        NOT NULL CHECK (tier IN ('free', 'hobby', 'pro', 'team')),
    role                        text        NOT NULL CHECK (role IN ('customer', 'operator')),
    has_own_requests_per_minute boolean     NOT NULL DEFAULT false,
    own_requests_per_minute     bigint      CHECK (own_requests_per_minute >= 0),
    has_own_logs_per_month      boolean     NOT NULL DEFAULT false,
    own_logs_per_month          bigint      CHECK (own_logs_per_month >= 0),
    has_own_retention_days      boolean     NOT NULL DEFAULT false,
    own_retention_days          bigint      CHECK (own_retention_days >= 0),
    suspended_at                timestamptz,
    created_at                  timestamptz NOT NULL,
    CHECK (has_own_requests_per_minute OR own_requests_per_minute IS NULL),
    CHECK (has_own_logs_per_month OR own_logs_per_month IS NULL),
    CHECK (has_own_retention_days OR own_retention_days IS NULL)
);

COMMENT ON COLUMN auth.accounts.password_hash IS 'argon2id, PHC string; null while no password was set';
COMMENT ON COLUMN auth.accounts.has_own_requests_per_minute IS 'false: the tier rules; true: the own value does, and null is no limit';

CREATE TABLE auth.api_keys (
    account_id   uuid        NOT NULL REFERENCES auth.accounts,
    key_id       uuid        NOT NULL,
    key_sha256   bytea       NOT NULL UNIQUE CHECK (octet_length(key_sha256) = 32),
    prefix       text        NOT NULL,
    name         text,
    scopes       text[]      NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (account_id, key_id)
);

COMMENT ON COLUMN auth.api_keys.last_used_at IS 'to the minute, and as the gateway asks: it remembers an answer for a while';

-- Events that were committed with the change they tell of and are not known to be in the event log yet.
CREATE TABLE auth.outbox (
    event_id   uuid        PRIMARY KEY,
    topic      text        NOT NULL,
    event_key  bytea       NOT NULL,
    value      bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
