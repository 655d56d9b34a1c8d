-- Public halves of the keys. The private seed is never in the database. A key stands here before its first
-- signature, and for ever after: old receipts are verified with it.
CREATE TABLE receipts.signing_keys (
    key_id     text        PRIMARY KEY,
    public_key bytea       NOT NULL CHECK (length(public_key) = 32),
    status     text        NOT NULL CHECK (status IN ('current', 'retired', 'revoked')),
    not_before timestamptz NOT NULL,
    not_after  timestamptz,
    revoked_at timestamptz,
    CHECK ((status = 'current') = (not_after IS NULL)),
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL))
);

CREATE UNIQUE INDEX signing_keys_one_current ON receipts.signing_keys (status) WHERE status = 'current';

COMMENT ON COLUMN receipts.signing_keys.not_after IS 'nothing is signed with it later than this';

-- The last number given out to each account. Its row is locked while receipts are numbered, so that the
-- numbers have neither gap nor double.
CREATE TABLE receipts.sequences (
    account_id    uuid   PRIMARY KEY,
    last_sequence bigint NOT NULL
) WITH (fillfactor = 50); -- room to update rows in place

-- `payload` is the RFC 8785 text that was signed, byte for byte: receipts are served and verified from it and
-- never rebuilt. The other columns only find it.
CREATE TABLE receipts.receipts (
    account_id       uuid        NOT NULL,
    receipt_id       uuid        NOT NULL,
    account_sequence bigint      NOT NULL CHECK (account_sequence > 0),
    kind             text        NOT NULL,
    log_id           uuid,
    occurred_at      timestamptz NOT NULL,
    issued_at        timestamptz NOT NULL,
    key_id           text        NOT NULL,
    payload          bytea       NOT NULL,
    signature        bytea       NOT NULL CHECK (length(signature) = 64),
    request_sha256   bytea,
    PRIMARY KEY (account_id, receipt_id)
);

CREATE UNIQUE INDEX receipts_one_per_number ON receipts.receipts (account_id, account_sequence);

CREATE UNIQUE INDEX receipts_one_recorded_per_log
    ON receipts.receipts (account_id, log_id) WHERE kind = 'recorded';

CREATE INDEX receipts_newest_first
    ON receipts.receipts (account_id, occurred_at DESC, account_sequence DESC);

COMMENT ON COLUMN receipts.receipts.request_sha256 IS
    'what was asked under an idempotency key, to tell a retry from another request; null without a key';

-- An issued receipt is a fact about the past.
CREATE FUNCTION receipts.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'receipts are append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER receipts_are_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts.receipts
    FOR EACH STATEMENT EXECUTE FUNCTION receipts.refuse_change();

-- How far each consumer has applied its topic, moved in the transaction that writes the receipts.
CREATE TABLE receipts.positions (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    next_offset    bigint      NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);
