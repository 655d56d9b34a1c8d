-- Which account somebody at a provider has. Who that is says the provider's own id, and never the address.
CREATE TABLE auth.identities (
    provider   text        NOT NULL,
    subject    text        NOT NULL,
    account_id uuid        NOT NULL REFERENCES auth.accounts,
    linked_at  timestamptz NOT NULL,
    PRIMARY KEY (provider, subject)
);

CREATE INDEX identities_by_account ON auth.identities (account_id);

-- Logins that were begun and that the provider has not answered yet: each is deleted at its first use.
CREATE TABLE auth.login_flows (
    state_sha256   bytea       PRIMARY KEY CHECK (octet_length(state_sha256) = 32),
    browser_sha256 bytea       NOT NULL CHECK (octet_length(browser_sha256) = 32),
    provider       text        NOT NULL,
    verifier       text        NOT NULL,
    nonce          text        NOT NULL,
    return_to      text,
    expires_at     timestamptz NOT NULL
);

COMMENT ON COLUMN auth.login_flows.browser_sha256 IS 'of a secret that is in a cookie of the browser that began';
COMMENT ON COLUMN auth.login_flows.verifier IS 'of PKCE (RFC 7636)';

CREATE INDEX login_flows_by_end ON auth.login_flows (expires_at);

-- First keys that wait for the session that opened the account. They are sealed with a secret that comes of the
-- session's token, which the browser alone has.
CREATE TABLE auth.pending_keys (
    session_id uuid        PRIMARY KEY REFERENCES auth.sessions ON DELETE CASCADE,
    account_id uuid        NOT NULL,
    key_id     uuid        NOT NULL,
    sealed     bytea,
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (account_id, key_id) REFERENCES auth.api_keys
);

COMMENT ON COLUMN auth.pending_keys.sealed IS 'null once it was retrieved or has expired';

CREATE INDEX pending_keys_by_end ON auth.pending_keys (expires_at) WHERE sealed IS NOT NULL;
