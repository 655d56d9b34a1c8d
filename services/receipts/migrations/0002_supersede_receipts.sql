-- A record whose cost is found later gets a second receipt, which names the first one. The first is revision 0,
-- and stays. There is one receipt of each revision, so that a doubled event cannot give a doubled receipt.
ALTER TABLE receipts.receipts ADD COLUMN revision smallint NOT NULL DEFAULT 0 CHECK (revision >= 0);

DROP INDEX receipts.receipts_one_recorded_per_log;

CREATE UNIQUE INDEX receipts_one_recorded_per_log
    ON receipts.receipts (account_id, log_id, revision) WHERE log_id IS NOT NULL;
