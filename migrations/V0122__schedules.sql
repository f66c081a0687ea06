-- When a variant is rendered again; a variant has one schedule at most. The rule is kept as the protocol writes it. The next run
-- follows from rule, start and zone, and is not kept.

CREATE TABLE schedules (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    variant_id bigint      NOT NULL CONSTRAINT schedules_variant_key UNIQUE
        CONSTRAINT schedules_variant_fkey REFERENCES variants (id) ON DELETE CASCADE,
    kind       text        NOT NULL CONSTRAINT schedules_kind_check CHECK (kind IN ('minute', 'hour', 'day', 'weekday',
        'week', 'dayofweek', 'semimonth', 'dayofmonth', 'dayweekofmonth', 'year')),
    parameters text        NOT NULL CONSTRAINT schedules_parameters_check CHECK (octet_length(parameters) <= 1024),
    start_at   timestamptz NOT NULL,
    time_zone  text        NOT NULL CONSTRAINT schedules_zone_check CHECK (octet_length(time_zone) BETWEEN 1 AND 64),
    -- Whether what was rendered is what visitors see then, and whether it is sent by mail.
    activate   boolean     NOT NULL,
    email      boolean     NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
