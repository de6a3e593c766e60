WITH registration AS (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[], $6::uuid[], $7::text[], $8::text[],
        $9::uuid[], $10::uuid[], $11::uuid[]
    ) AS registration
        (id, name, email, marketing_consent, registered_at, message_id, traceparent, body, idempotency_key,
            request, edit_key)
),
customer AS (
    INSERT INTO customers
        (id, name, email, marketing_consent, registered_at, message_id, idempotency_key, request, edit_key)
    SELECT id, name, email, marketing_consent, registered_at, message_id, idempotency_key, request, edit_key
    FROM registration
    ORDER BY lower(email COLLATE "C")
    ON CONFLICT DO NOTHING
    RETURNING message_id
),
event AS (
    INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body)
    SELECT message_id, $12, message_id::text, traceparent, registered_at, body
    FROM registration JOIN customer USING (message_id)
)
SELECT message_id FROM customer
