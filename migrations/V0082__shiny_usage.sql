-- Who used which Shiny application, and for how long: one row for each WebSocket, written down like visits.

CREATE TABLE shiny_usage (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Made by the server that has the WebSocket; its end is found by it.
    key        uuid        NOT NULL CONSTRAINT shiny_usage_key_key UNIQUE,
    content_id bigint      NOT NULL CONSTRAINT shiny_usage_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    -- NULL: nobody in particular.
    user_id    bigint      CONSTRAINT shiny_usage_user_fkey REFERENCES users (id) ON DELETE SET NULL,
    started_at timestamptz NOT NULL,
    -- NULL: it goes on, or its server was killed.
    ended_at   timestamptz
);

CREATE INDEX shiny_usage_content ON shiny_usage (content_id, id);
CREATE INDEX shiny_usage_started ON shiny_usage (started_at);
