WITH customer AS (
    INSERT INTO customers
        (id, name, email, marketing_consent, registered_at, message_id, idempotency_key, request, edit_key)
    VALUES ($1, $2, $3, $4, $5, $6, $11, $12, $13)
)
INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body)
VALUES ($6, $7, $8, $9, $5, $10)
