ALTER TABLE auth.mails DROP CONSTRAINT mails_kind_check;
ALTER TABLE auth.mails ADD CONSTRAINT mails_kind_check
    CHECK (kind IN ('password_reset', 'set_password', 'webhook_disabled', 'password_changed'));
