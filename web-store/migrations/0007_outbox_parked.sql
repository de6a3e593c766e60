-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_parked ON outbox (message_type, retry_at) WHERE retry_at IS NOT NULL;
