-- A new budget by key is counted from single records, which may take long. Meanwhile it is here already, so that
-- raters count what they store, and nobody else sees it. Several may be made of one matter at once; one stays.
ALTER TABLE usage.budgets ADD COLUMN counting_until timestamptz;

COMMENT ON COLUMN usage.budgets.counting_until IS 'it is being made; after this instant whoever made it has died';

ALTER TABLE usage.budgets DROP CONSTRAINT budgets_account_id_scope_value_key;
CREATE UNIQUE INDEX budgets_by_matter ON usage.budgets (account_id, scope, value) WHERE counting_until IS NULL;
