WITH message AS (
    SELECT message_id FROM customers WHERE id = $1
    UNION ALL
    SELECT message_id FROM customer_versions WHERE customer_id = $1
),
event AS (
    DELETE FROM outbox USING message WHERE outbox.message_id = message.message_id
),
past AS (
    DELETE FROM customer_versions WHERE customer_id = $1
)
DELETE FROM customers WHERE id = $1
