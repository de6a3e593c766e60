-- A request may bring a key, so that sending it again registers nobody twice. Both columns are hashes
-- (UUID v5): of the key, and of what was asked for with it. Rows without a key are not in the index.
ALTER TABLE customers
    ADD COLUMN idempotency_key uuid,
    ADD COLUMN request         uuid,
    ADD CONSTRAINT customers_request_with_key CHECK ((idempotency_key IS NULL) = (request IS NULL));

CREATE UNIQUE INDEX customers_idempotency_key ON customers (idempotency_key) WHERE idempotency_key IS NOT NULL;
