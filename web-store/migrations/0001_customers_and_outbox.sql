CREATE TABLE customers (
    id                uuid        PRIMARY KEY,
    name              text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    email             text        NOT NULL CHECK (octet_length(email) BETWEEN 3 AND 254),
    marketing_consent boolean     NOT NULL,
    registered_at     timestamptz NOT NULL
);

-- E-mail addresses are ASCII here, so the plain "C" rules fold their case, whatever the database's locale.
CREATE UNIQUE INDEX customers_email_key ON customers (lower(email COLLATE "C"));

-- The Web Store's local queue: written by the same commit as what it tells of, deleted once the broker
-- has confirmed the message. The key is a UUID v7, so its order is about the order of time.
CREATE TABLE outbox (
    message_id     uuid        PRIMARY KEY,
    message_type   text        NOT NULL,
    correlation_id text        NOT NULL,
    traceparent    text        NOT NULL,
    occurred_at    timestamptz NOT NULL,
    body           text        NOT NULL
);
