-- The customers that were erased, without their details. The event is built from the row, so it can be sent again.
CREATE TABLE erased_customers (
    customer_id uuid        PRIMARY KEY,
    -- Higher than the versions of the customer.
    version     integer     NOT NULL CHECK (version >= 2),
    erased_at   timestamptz NOT NULL,
    -- The message id of the event.
    message_id  uuid        NOT NULL
);

-- The default is a constant for the rows that exist, so this statement does not rewrite the table.
ALTER TABLE replays ADD COLUMN with_erasures boolean NOT NULL DEFAULT false;
