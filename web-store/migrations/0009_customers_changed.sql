-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS customers_changed ON customers (changed_at, id) WHERE changed_at IS NOT NULL;
