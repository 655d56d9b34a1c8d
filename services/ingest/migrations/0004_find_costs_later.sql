-- A cost that was unknown may be found later, once. The index holds the records that wait for that, and no others.
ALTER TABLE usage.logs ADD COLUMN repriced_at timestamptz;

COMMENT ON COLUMN usage.logs.repriced_at IS 'when an unknown cost was found; null where it was known at once, or still is not';

CREATE INDEX logs_unpriced ON usage.logs (occurred_at, account_id, log_id) WHERE cost IS NULL;
