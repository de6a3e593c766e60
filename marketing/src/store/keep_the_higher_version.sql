ON DUPLICATE KEY UPDATE
    full_name = IF(VALUES(version) > customers.version, VALUES(full_name), customers.full_name),
    email_address = IF(VALUES(version) > customers.version, VALUES(email_address), customers.email_address),
    email_opt_in = IF(VALUES(version) > customers.version, VALUES(email_opt_in), customers.email_opt_in),
    source = IF(VALUES(version) > customers.version, VALUES(source), customers.source),
    customer_since = IF(VALUES(version) > customers.version, VALUES(customer_since), customers.customer_since),
    changed_at = IF(VALUES(version) > customers.version, VALUES(changed_at), customers.changed_at),
    version = GREATEST(VALUES(version), customers.version)
