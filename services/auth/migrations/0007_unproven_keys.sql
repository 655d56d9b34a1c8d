-- Until somebody shows that they read the mail of an account's address, its keys may be a stranger's who registered
-- it. A reset by a mailed link shows it and leaves keys valid; a login elsewhere that joins the account ends those
-- that are still unproven then. Whatever an unproven key makes is unproven as well.
ALTER TABLE auth.api_keys ADD COLUMN unproven boolean NOT NULL DEFAULT false;

-- Accounts whose address was shown by a reset until now: nobody has joined them yet.
UPDATE auth.api_keys k SET unproven = true
    FROM auth.accounts a
    WHERE a.account_id = k.account_id AND k.created_at <= a.email_verified_at
        AND NOT EXISTS (SELECT FROM auth.identities i WHERE i.account_id = a.account_id);

COMMENT ON COLUMN auth.api_keys.unproven IS 'made before the address was shown to be the account''s own, or by such a key';
