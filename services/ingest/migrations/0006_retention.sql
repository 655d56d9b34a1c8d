-- What retention has deleted: single records whose own time is before `deleted_before` may be missing. Their sums stay.
CREATE TABLE usage.retention (
    account_id      uuid        PRIMARY KEY,
    deleted_before  timestamptz NOT NULL,
    deleted_records bigint      NOT NULL
);

-- A deleted record's key stands for it as before: a repeat is answered, and not recorded once more.
ALTER TABLE usage.claims ADD COLUMN row_deleted boolean NOT NULL DEFAULT false;
