-- Who has shown that mail to the address arrives: by a link that was sent there.
ALTER TABLE auth.accounts ADD COLUMN email_verified_at timestamptz;

-- How a key came about. `first` is the key that an account gets without asking for one: at most one is live.
-- Of those from `login` the five newest are live. All others are made by name.
ALTER TABLE auth.api_keys ADD COLUMN origin text NOT NULL DEFAULT 'made'
    CHECK (origin IN ('first', 'login', 'made'));
UPDATE auth.api_keys k SET origin = 'first'
    FROM auth.accounts a WHERE a.account_id = k.account_id AND a.role = 'customer';

-- Who is logged in, and by what hash the token of it is known. A session that ends is deleted.
CREATE TABLE auth.sessions (
    session_id   uuid        PRIMARY KEY,
    account_id   uuid        NOT NULL REFERENCES auth.accounts,
    token_sha256 bytea       NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    created_at   timestamptz NOT NULL,
    used_at      timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);

COMMENT ON COLUMN auth.sessions.used_at IS 'to the minute, and as the gateway asks: it remembers an answer for a while';
COMMENT ON COLUMN auth.sessions.expires_at IS 'the end of the session however much it is used';

CREATE INDEX sessions_by_account ON auth.sessions (account_id);
CREATE INDEX sessions_by_end ON auth.sessions (expires_at);

-- The newest link by which an account may set its password. The link itself is in a mail, and nowhere else.
CREATE TABLE auth.password_links (
    account_id   uuid        PRIMARY KEY REFERENCES auth.accounts,
    token_sha256 bytea       NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    expires_at   timestamptz NOT NULL
);

-- Mails to send, and those of the last day. Also one to an address that nobody has: whoever asks for it sees no
-- difference, and the worker drops it. Nothing secret is here: a link is drawn when its mail is sent.
CREATE TABLE auth.mails (
    mail_id         uuid        PRIMARY KEY,
    kind            text        NOT NULL CHECK (kind IN ('password_reset', 'set_password')),
    email_key       text        NOT NULL,
    requested_at    timestamptz NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    sent_at         timestamptz
);

CREATE INDEX mails_due ON auth.mails (next_attempt_at) WHERE sent_at IS NULL;
CREATE INDEX mails_by_address ON auth.mails (email_key, sent_at);
