-- What was done to accounts and keys, by whom, from where. Entries are added, and never changed or removed.
CREATE TABLE auth.audit (
    account_id       uuid        NOT NULL,
    entry_id         uuid        NOT NULL,
    happened_at      timestamptz NOT NULL,
    action           text        NOT NULL,
    actor            text        NOT NULL,
    actor_account_id uuid,
    actor_key_id     uuid,
    actor_session_id uuid,
    client           text,
    target_id        uuid,
    before           jsonb,
    after            jsonb,
    PRIMARY KEY (account_id, entry_id)
);

CREATE INDEX audit_of_account ON auth.audit (account_id, happened_at, entry_id);
CREATE INDEX audit_of_all ON auth.audit (happened_at, entry_id);

COMMENT ON COLUMN auth.audit.account_id IS 'whose account it was done to';
COMMENT ON COLUMN auth.audit.client IS 'the address it came from, or user@host of a command line';
COMMENT ON COLUMN auth.audit.target_id IS 'what it was done to, where that is not the account itself: a key';

CREATE FUNCTION auth.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'auth.audit is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON auth.audit
    FOR EACH STATEMENT EXECUTE FUNCTION auth.refuse_change();
