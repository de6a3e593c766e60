WITH updated AS (
    UPDATE customers
    SET name = $3, marketing_consent = $4, version = $2, changed_at = $5, message_id = $6
    WHERE id = $1 AND version = $10
    RETURNING id, message_id, changed_at
),
past AS (
    INSERT INTO customer_versions (customer_id, version, name, marketing_consent, changed_at, message_id)
    SELECT id, version, name, customers.marketing_consent, customers.changed_at, customers.message_id
    FROM customers JOIN updated USING (id)
)
INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body)
SELECT message_id, $7, message_id::text, $8, changed_at, $9
FROM updated
