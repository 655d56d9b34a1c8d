-- A retention that becomes shorter deletes nothing for a while. Nothing at all was deleted until now, so that
-- counts for every account that is there.
ALTER TABLE auth.accounts ADD COLUMN retention_shortened_at timestamptz;
UPDATE auth.accounts SET retention_shortened_at = now();

COMMENT ON COLUMN auth.accounts.retention_shortened_at IS 'when retention_days became shorter last, by tier or own limit';
