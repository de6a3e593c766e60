-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_fresh ON outbox (queued_at, message_id) WHERE retry_at IS NULL;
