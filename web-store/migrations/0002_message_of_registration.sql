-- The message id of the event that told of the registration, so that the event can be sent again as the
-- same event. Of an earlier customer whose event has left, it is no longer known; the customer's own id
-- serves as well, since from now on it stays the same.
ALTER TABLE customers ADD COLUMN message_id uuid;

WITH waiting AS (
    SELECT (body::json ->> 'customer_id')::uuid AS customer_id, message_id
    FROM outbox WHERE message_type = 'web-store.customer-registered.v1'
)
UPDATE customers SET message_id = coalesce(waiting.message_id, earlier.id)
FROM customers AS earlier LEFT JOIN waiting ON waiting.customer_id = earlier.id
WHERE customers.id = earlier.id;

ALTER TABLE customers ALTER COLUMN message_id SET NOT NULL;
