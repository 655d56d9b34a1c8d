-- Whoever is suspended now was so before keys.changed said it: it is said once, to whoever reads it from here on.
INSERT INTO auth.outbox (event_id, topic, event_key, value, created_at)
SELECT gen_random_uuid(), 'keys.changed', uuid_send(account_id),
       convert_to(json_build_object(
           'v', 1, 'account_id', account_id, 'key_ids', json_build_array(), 'suspended', true,
           'changed_at', to_char(suspended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
       )::text, 'UTF8'),
       now()
  FROM auth.accounts WHERE suspended_at IS NOT NULL;
