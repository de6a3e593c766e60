-- Whether an operator publishes the event again, so that the time since it occurred is not the time of its way.
-- The default is a constant for the rows that exist, so this statement does not rewrite the table.
ALTER TABLE outbox ADD COLUMN is_replay boolean NOT NULL DEFAULT false;
