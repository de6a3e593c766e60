-- A customer is registered in version 1; each change of their details adds 1. `customers` has the version
-- that holds, `changed_at` since when and `message_id` under which it was told.
ALTER TABLE customers
    ADD COLUMN version    integer NOT NULL DEFAULT 1,
    ADD COLUMN changed_at timestamptz,
    -- Who knows it may change the customer's details.
    ADD COLUMN edit_key   uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD CONSTRAINT customers_version_check CHECK (version >= 1 AND (version = 1) = (changed_at IS NULL));

-- The versions before: what it takes, together with what never changes, to tell of each of them again.
CREATE TABLE customer_versions (
    customer_id       uuid    NOT NULL REFERENCES customers (id),
    version           integer NOT NULL,
    name              text    NOT NULL,
    marketing_consent boolean NOT NULL,
    changed_at        timestamptz,
    message_id        uuid    NOT NULL,
    PRIMARY KEY (customer_id, version)
);

-- Every version that ever was, each as complete as its event.
CREATE VIEW versions AS
    SELECT id AS customer_id, version, name, email, marketing_consent, registered_at, changed_at, message_id
    FROM customers
    UNION ALL
    SELECT customer_id, past.version, past.name, email, past.marketing_consent, registered_at,
        past.changed_at, past.message_id
    FROM customer_versions AS past JOIN customers ON customers.id = past.customer_id;
