-- What each version changed, worked out once when it is published. All three tables say nothing that the
-- versions' own bytes do not say; a version that is not in registry.changes yet is worked out later.
CREATE TABLE registry.changes (
    day     date    NOT NULL,
    ordinal integer NOT NULL,
    base    text    REFERENCES registry.versions (version),
    changes bytea   NOT NULL,
    PRIMARY KEY (day, ordinal),
    FOREIGN KEY (day, ordinal) REFERENCES registry.versions (day, ordinal)
);

COMMENT ON COLUMN registry.changes.base IS 'the version that it was built on; null for the first of all';
COMMENT ON COLUMN registry.changes.changes IS 'JSON: changes, provider_changes';

-- One row is one version of one provider's models, by a number of the provider's own that counts from 1.
CREATE TABLE registry.books (
    provider   text        NOT NULL,
    number     integer     NOT NULL CHECK (number >= 1),
    day        date        NOT NULL,
    ordinal    integer     NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (provider, number),
    UNIQUE (day, ordinal, provider),
    FOREIGN KEY (day, ordinal) REFERENCES registry.versions (day, ordinal)
);

COMMENT ON COLUMN registry.books.updated_at IS 'when the provider''s models were published';

-- One row is one model's entry in the version that changed it; versions built on that one have it too.
CREATE TABLE registry.entries (
    key     text    NOT NULL,
    day     date    NOT NULL,
    ordinal integer NOT NULL,
    entry   bytea,
    PRIMARY KEY (key, day, ordinal),
    FOREIGN KEY (day, ordinal) REFERENCES registry.versions (day, ordinal)
);

COMMENT ON COLUMN registry.entries.entry IS 'its JSON; null where the version removed it';

CREATE FUNCTION registry.refuse_any_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what a published registry version changed cannot be changed or removed'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER changes_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.changes
    FOR EACH STATEMENT EXECUTE FUNCTION registry.refuse_any_change();
CREATE TRIGGER books_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.books
    FOR EACH STATEMENT EXECUTE FUNCTION registry.refuse_any_change();
CREATE TRIGGER entries_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.entries
    FOR EACH STATEMENT EXECUTE FUNCTION registry.refuse_any_change();
