-- Monthly budgets: what an account, one of its API keys or one of its origins may cost in a calendar month (UTC).
-- Whoever changes sums or reservations of a budget holds the lock of its row here.
CREATE TABLE usage.budgets (
    account_id  uuid      NOT NULL,
    budget_id   uuid      NOT NULL,
    name        text      NOT NULL,
    scope       text      NOT NULL CHECK (scope IN ('account', 'key', 'origin')),
    value       text      NOT NULL,
    amount      numeric   NOT NULL CHECK (amount > 0),
    thresholds  numeric[] NOT NULL,
    counts_from date      NOT NULL,
    PRIMARY KEY (account_id, budget_id),
    UNIQUE (account_id, scope, value)
);

COMMENT ON COLUMN usage.budgets.value IS 'the key''s id, or the origin; empty for the whole account';
COMMENT ON COLUMN usage.budgets.counts_from IS 'the first month that is counted: that in which it was made';

-- What was spent of a budget in a month. `spent` stays when retention deletes records. `reserved` are the amounts
-- of reservations with `is_live`, of which some may have expired since.
CREATE TABLE usage.budget_months (
    account_id uuid      NOT NULL,
    budget_id  uuid      NOT NULL,
    month      date      NOT NULL,
    spent      numeric   NOT NULL DEFAULT 0,
    reserved   numeric   NOT NULL DEFAULT 0,
    unpriced   bigint    NOT NULL DEFAULT 0,
    told       numeric[] NOT NULL DEFAULT '{}',
    forgotten  boolean   NOT NULL DEFAULT false,
    PRIMARY KEY (account_id, budget_id, month),
    FOREIGN KEY (account_id, budget_id) REFERENCES usage.budgets ON DELETE CASCADE
) WITH (fillfactor = 50);

COMMENT ON COLUMN usage.budget_months.told IS 'thresholds that were reached and of which budgets.crossed has told';
COMMENT ON COLUMN usage.budget_months.forgotten IS 'its reservations are deleted, since the month is long over';

-- Parts of a month's budget that somebody holds. What one has cost is `record_cost` where a record names it, else
-- `settled_cost`, what its holder said; while both are null it is not known, whether it has expired or not. They
-- are deleted in small batches, long after their month or their budget, so no key refers to that.
CREATE TABLE usage.reservations (
    account_id     uuid        NOT NULL,
    budget_id      uuid        NOT NULL,
    reservation_id uuid        NOT NULL,
    month          date        NOT NULL,
    amount         numeric     NOT NULL CHECK (amount > 0),
    expires_at     timestamptz NOT NULL,
    is_live        boolean     NOT NULL DEFAULT true,
    settled_cost   numeric,
    record_cost    numeric,
    log_id         uuid,
    PRIMARY KEY (account_id, reservation_id, budget_id)
);

-- Led by other columns than the key, so that a planner without statistics cannot take one for the other: each of
-- them would do for the other's questions, by reading all that was ever reserved of a budget.
CREATE INDEX reservations_by_month
    ON usage.reservations (month, account_id, budget_id, is_live, expires_at);

-- Months of budgets that were removed, which may have reservations still.
CREATE TABLE usage.removed_budget_months (
    account_id uuid NOT NULL,
    budget_id  uuid NOT NULL,
    month      date NOT NULL,
    PRIMARY KEY (account_id, budget_id, month)
);

ALTER TABLE usage.logs ADD COLUMN reservation_id uuid;

-- A budget that is made in mid-month begins with the sums of the records before. Who makes one takes the lock of
-- its account, and a rater that of each account whose records it stores, shared, before it looks for budgets: so
-- each record is either in those sums or counted by its rater. Accounts share 128 locks, since a rater may store
-- records of as many accounts as a slice has, and the server has room for so many locks only.
CREATE FUNCTION usage.budget_lock(of_account uuid) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN uuid_hash(of_account) & 127;

CREATE FUNCTION usage.lock_to_set_budgets(of_account uuid) RETURNS void LANGUAGE sql VOLATILE
RETURN pg_advisory_xact_lock(1819044984, usage.budget_lock(of_account));

-- Each statement of a function has a snapshot of its own: what is read here was committed before the locks.
CREATE FUNCTION usage.list_budgets_to_count(of_accounts uuid[]) RETURNS SETOF usage.budgets
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1819044984, number)
       FROM (SELECT DISTINCT usage.budget_lock(asked) AS number FROM unnest(of_accounts) AS asked ORDER BY 1) AS l;
    RETURN QUERY SELECT b.* FROM usage.budgets b WHERE b.account_id = ANY (of_accounts)
                  ORDER BY b.account_id, b.budget_id;
END
$$;

-- Reserve parts of one budget, each if it fits into what is left after those before it: one round trip, one
-- transaction, one decision at a time for each budget. No row: there is no such budget. A plan made while the
-- tables are nearly empty must not outlive that.
CREATE FUNCTION usage.reserve(
    of_account uuid,
    of_budget uuid,
    reservation_ids uuid[],
    amounts numeric[],
    lifetimes interval[],
    asked_at timestamptz
) RETURNS TABLE (outcome text, held numeric, lapses_at timestamptz, remaining numeric)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off
AS $$
DECLARE
    decided_at timestamptz;
    this_month date;
    added numeric;
    there usage.reservations;
BEGIN
    SELECT b.amount INTO remaining FROM usage.budgets b
     WHERE b.account_id = of_account AND b.budget_id = of_budget
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    decided_at := coalesce(asked_at, clock_timestamp());
    this_month := date_trunc('month', decided_at AT TIME ZONE 'UTC')::date;

    WITH expired AS (
        UPDATE usage.reservations r SET is_live = false
         WHERE r.account_id = of_account AND r.budget_id = of_budget AND r.month = this_month
           AND r.is_live AND r.expires_at <= decided_at
        RETURNING r.amount
    )
    SELECT -coalesce(sum(expired.amount), 0) INTO added FROM expired;
    INSERT INTO usage.budget_months (account_id, budget_id, month) VALUES (of_account, of_budget, this_month)
    ON CONFLICT DO NOTHING;
    SELECT remaining - m.spent - m.reserved - added INTO remaining FROM usage.budget_months m
     WHERE m.account_id = of_account AND m.budget_id = of_budget AND m.month = this_month;

    FOR place IN 1 .. cardinality(reservation_ids) LOOP
        SELECT r.* INTO there FROM usage.reservations r
         WHERE r.account_id = of_account AND r.budget_id = of_budget
           AND r.reservation_id = reservation_ids[place];
        IF FOUND THEN
            outcome := 'found';
            held := there.amount;
            lapses_at := there.expires_at;
        ELSE
            held := amounts[place];
            lapses_at := decided_at + lifetimes[place];
            IF held <= remaining THEN
                outcome := 'granted';
                remaining := remaining - held;
                added := added + held;
                INSERT INTO usage.reservations (account_id, budget_id, reservation_id, month, amount, expires_at)
                VALUES (of_account, of_budget, reservation_ids[place], this_month, held, lapses_at);
            ELSE
                outcome := 'refused';
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;

    IF added <> 0 THEN
        UPDATE usage.budget_months m SET reserved = m.reserved + added
         WHERE m.account_id = of_account AND m.budget_id = of_budget AND m.month = this_month;
    END IF;
END
$$;
