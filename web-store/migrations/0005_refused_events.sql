-- An event that the broker refused is parked: it has the time of its next attempt. The other events pass it.
-- Every default is a constant for the rows that exist, so this statement does not rewrite the table.
ALTER TABLE outbox
    -- The number of publishes that the broker refused.
    ADD COLUMN attempts     integer     NOT NULL DEFAULT 0,
    -- NULL if the broker never refused the event.
    ADD COLUMN retry_at     timestamptz,
    -- The last refusal: 'returned' (no queue has the event) or 'nacked' (some queues may have it).
    ADD COLUMN last_refusal text,
    -- The time at which the event was written, by the clock of the database. It differs from `occurred_at` for an
    -- event that is published again.
    ADD COLUMN queued_at    timestamptz NOT NULL DEFAULT now();
