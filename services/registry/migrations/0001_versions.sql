-- One row is one version of the whole registry, with the very bytes that it is served as.
CREATE TABLE registry.versions (
    day            date        NOT NULL,
    ordinal        integer     NOT NULL CHECK (ordinal >= 1),
    version        text        NOT NULL UNIQUE,
    generated_at   timestamptz NOT NULL,
    effective_from timestamptz NOT NULL,
    digest         text        NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    models         integer     NOT NULL CHECK (models >= 0),
    body           bytea       NOT NULL,
    published_by   uuid,
    announced_at   timestamptz,
    -- (day, ordinal) is the order of versions: as text, .10 would come before .9.
    PRIMARY KEY (day, ordinal)
);

COMMENT ON COLUMN registry.versions.digest IS 'SHA-256 of body, lower-case hex';
COMMENT ON COLUMN registry.versions.models IS 'how many models the version lists';
COMMENT ON COLUMN registry.versions.published_by IS 'the API key that published it; null for history';
COMMENT ON COLUMN registry.versions.announced_at IS
    'when registry.published was told of it; null between the commit and the event';

CREATE INDEX versions_unannounced ON registry.versions (day, ordinal) WHERE announced_at IS NULL;

-- A published version never changes, whoever asks. Only that it was announced may be noted.
CREATE FUNCTION registry.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE'
       AND (to_jsonb(NEW) - 'announced_at' - 'body') = (to_jsonb(OLD) - 'announced_at' - 'body')
       AND NEW.body = OLD.body THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a published registry version cannot be changed or removed'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER versions_are_immutable BEFORE UPDATE OR DELETE ON registry.versions
    FOR EACH ROW EXECUTE FUNCTION registry.refuse_change();
CREATE TRIGGER versions_are_kept BEFORE TRUNCATE ON registry.versions
    FOR EACH STATEMENT EXECUTE FUNCTION registry.refuse_change();
