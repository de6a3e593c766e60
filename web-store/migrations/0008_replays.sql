-- The replays that subscribers have requested. A row is kept for 30 days after its replay has ended, because a copy of
-- the request is the same replay.
CREATE TABLE replays (
    -- The `message_id` of the request.
    id                 uuid        PRIMARY KEY,
    -- The receiving queue, which is the routing key.
    queue              text        NOT NULL,
    with_registrations boolean     NOT NULL,
    with_changes       boolean     NOT NULL,
    since              timestamptz,
    until              timestamptz,
    -- NULL for all customers.
    customer_ids       uuid[],
    -- The version of each of these customers that the subscriber has, or 0. NULL once the lower ones are replaced.
    known_versions     integer[],
    -- The routing key of the reports.
    reply_to           text,
    correlation_id     text        NOT NULL,
    traceparent        text        NOT NULL,
    -- The last customer whose events the broker has confirmed.
    position           uuid,
    -- The last customer at the time of the request. The queue receives the events of later ones when they occur.
    last_customer      uuid,
    published          bigint      NOT NULL DEFAULT 0,
    state              text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'completed', 'failed')),
    reason             text,
    requested_at       timestamptz NOT NULL DEFAULT now(),
    -- The time of the last page. The replay with the earliest time is next.
    last_turn_at       timestamptz NOT NULL DEFAULT now(),
    -- Since when no queue accepts the events.
    refused_since      timestamptz,
    reported_at        timestamptz,
    ended_at           timestamptz
);

CREATE INDEX replays_running ON replays (last_turn_at) WHERE state = 'running';
