-- The newest claims are copied to a cache that has lost its contents. They lie together, so ranges of blocks do.
CREATE INDEX claims_claimed_at ON usage.claims USING brin (claimed_at) WITH (autosummarize = on);
