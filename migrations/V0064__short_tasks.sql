-- Work of the server itself that is done within the request that asks for it. Clients poll it like any task, so its end
-- and its output are kept for a while.

CREATE TABLE short_tasks (
    id           text        PRIMARY KEY,
    requested_by bigint CONSTRAINT short_tasks_requested_by_fkey REFERENCES users (id) ON DELETE SET NULL,
    output       text[]      NOT NULL,
    code         integer     NOT NULL,
    error        text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX short_tasks_requested_by ON short_tasks (requested_by);
CREATE INDEX short_tasks_created ON short_tasks (created_at);
