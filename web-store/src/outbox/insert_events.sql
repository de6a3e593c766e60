INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body, is_replay)
SELECT message_id, message_type, message_id::text, traceparent, occurred_at, body, $6
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
    AS event (message_id, message_type, traceparent, occurred_at, body)
ON CONFLICT (message_id) DO NOTHING
