-- A mail that tells something, and has no link. `facts` is what it tells: JSON, text by name.
ALTER TABLE auth.mails ADD COLUMN facts jsonb;
ALTER TABLE auth.mails DROP CONSTRAINT mails_kind_check;
ALTER TABLE auth.mails ADD CONSTRAINT mails_kind_check
    CHECK (kind IN ('password_reset', 'set_password', 'webhook_disabled'));

-- How far each consumer has applied its topic, moved in the transaction that writes the mails.
CREATE TABLE auth.positions (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    next_offset    bigint      NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);
