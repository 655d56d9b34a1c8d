-- How many records of an account arrived in a month (UTC), by its first day: what monthly quotas are held against.
-- Rows of usage.logs do not tell, since retention deletes them.
CREATE TABLE usage.months (
    account_id uuid   NOT NULL,
    month      date   NOT NULL,
    records    bigint NOT NULL,
    PRIMARY KEY (account_id, month)
);

INSERT INTO usage.months (account_id, month, records)
SELECT account_id, date_trunc('month', received_at AT TIME ZONE 'UTC')::date, count(*)
FROM usage.logs GROUP BY 1, 2;
