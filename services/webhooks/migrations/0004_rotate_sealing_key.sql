-- While the sealing key is being changed: the one before, with which some secrets may still be sealed.
ALTER TABLE webhooks.sealing_key ADD COLUMN retiring bytea CHECK (retiring <> fingerprint);
