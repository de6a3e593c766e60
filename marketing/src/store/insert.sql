INSERT INTO customers
    (customer_id, full_name, email_address, email_opt_in, source, customer_since, search_segment, version,
        changed_at)
