-- Made to be read by a person: `SELECT * FROM customers ORDER BY received_at DESC LIMIT 10`. All times are UTC.
CREATE TABLE customers (
    customer_id    CHAR(36)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    full_name      VARCHAR(200) NOT NULL,
    email_address  VARCHAR(254) NOT NULL,
    email_opt_in   BOOLEAN      NOT NULL,
    source         VARCHAR(50)  NOT NULL,
    customer_since DATETIME(6)  NOT NULL,
    received_at    DATETIME(6)  NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    PRIMARY KEY (customer_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci;
