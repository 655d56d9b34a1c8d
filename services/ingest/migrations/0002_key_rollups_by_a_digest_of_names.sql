-- An index entry has room for about 2700 bytes, and four names of 255 characters may have more. So the keys hold
-- a digest of the names in their place.
CREATE FUNCTION usage.names_id(provider text, model_group text, origin text, alias text) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(substr(sha256(
    convert_to(provider, 'UTF8') || '\x00'::bytea || convert_to(model_group, 'UTF8') || '\x00'::bytea
    || convert_to(origin, 'UTF8') || '\x00'::bytea || convert_to(alias, 'UTF8')), 1, 16), 'hex')::uuid;

ALTER TABLE usage.rollups
    ADD COLUMN names_id uuid NOT NULL
        GENERATED ALWAYS AS (usage.names_id(provider, model_group, origin, alias)) STORED,
    DROP CONSTRAINT rollups_pkey,
    ADD PRIMARY KEY (account_id, grain, bucket_at, names_id);

ALTER TABLE usage.latency_rollups
    ADD COLUMN names_id uuid NOT NULL
        GENERATED ALWAYS AS (usage.names_id(provider, model_group, origin, alias)) STORED,
    DROP CONSTRAINT latency_rollups_pkey,
    ADD PRIMARY KEY (account_id, grain, names_id, bucket_at, latency_bucket);
