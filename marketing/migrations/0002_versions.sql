-- A customer is registered in version 1; each change of their details at the source adds 1.
ALTER TABLE customers
    ADD COLUMN version    INT UNSIGNED NOT NULL DEFAULT 1 AFTER customer_since,
    ADD COLUMN changed_at DATETIME(6)  NULL AFTER version;
