-- What auth tells of accounts. One that was never suspended need not be here.
CREATE TABLE webhooks.accounts (
    account_id uuid        PRIMARY KEY,
    suspended  boolean     NOT NULL,
    changed_at timestamptz NOT NULL
);

COMMENT ON COLUMN webhooks.accounts.changed_at IS 'of the change that was told; an older one that comes later counts for nothing';

ALTER TABLE webhooks.endpoints ADD COLUMN made_by uuid;

COMMENT ON COLUMN webhooks.endpoints.made_by IS 'the key or session that registered it; null where that is not known any more';
