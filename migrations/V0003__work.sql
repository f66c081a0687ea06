-- Work that outlives a request (tasks, with the lines clients poll) and the record of native processes (jobs).
-- A task is claimed with a lease: any server may take it, and a dead server's lease expires.

CREATE TABLE tasks (
    id               text        PRIMARY KEY,
    kind             text        NOT NULL CONSTRAINT tasks_kind_check CHECK (kind IN ('deploy', 'build')),
    content_id       bigint      NOT NULL CONSTRAINT tasks_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    -- NULL once the bundle was deleted: the task's output outlives it.
    bundle_id        bigint CONSTRAINT tasks_bundle_fkey REFERENCES bundles (id) ON DELETE SET NULL,
    activate         boolean     NOT NULL,
    requested_by     bigint CONSTRAINT tasks_requested_by_fkey REFERENCES users (id) ON DELETE SET NULL,
    state            text        NOT NULL DEFAULT 'queued'
        CONSTRAINT tasks_state_check CHECK (state IN ('queued', 'running', 'finished')),
    code             integer,
    error            text        NOT NULL DEFAULT '',
    result           json,
    -- The number of rows in task_output: the protocol's `last`, without counting.
    output_lines     bigint      NOT NULL DEFAULT 0,
    lease_owner      uuid,
    lease_expires_at timestamptz,
    -- How often it was claimed; with the owner it names one lease.
    attempts         integer     NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    CONSTRAINT tasks_running_has_lease_check
        CHECK (state <> 'running' OR (lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)),
    CONSTRAINT tasks_finished_has_code_check
        CHECK ((state = 'finished') = (code IS NOT NULL AND finished_at IS NOT NULL))
);

CREATE INDEX tasks_open ON tasks (created_at, id) WHERE state <> 'finished';
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE state = 'finished';
CREATE INDEX tasks_content ON tasks (content_id, created_at);
CREATE INDEX tasks_bundle ON tasks (bundle_id);

CREATE TABLE task_output (
    task_id text   NOT NULL CONSTRAINT task_output_task_fkey REFERENCES tasks (id) ON DELETE CASCADE,
    -- Counts from 0 without gaps.
    seq     bigint NOT NULL CONSTRAINT task_output_seq_check CHECK (seq >= 0),
    line    text   NOT NULL,
    PRIMARY KEY (task_id, seq)
);

CREATE TABLE jobs (
    key        text        PRIMARY KEY,
    -- The number that the protocol's job objects carry besides the key.
    id         bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT jobs_id_key UNIQUE,
    content_id bigint      NOT NULL CONSTRAINT jobs_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    bundle_id  bigint CONSTRAINT jobs_bundle_fkey REFERENCES bundles (id) ON DELETE SET NULL,
    tag        text        NOT NULL,
    -- The server that started it.
    server_id  uuid        NOT NULL,
    hostname   text        NOT NULL,
    run_as     text,
    log_path   text,
    pid        integer,
    -- 0 active, 1 finished, 2 finished and put away: the protocol's numbers.
    status     smallint    NOT NULL DEFAULT 0 CONSTRAINT jobs_status_check CHECK (status BETWEEN 0 AND 2),
    exit_code  integer,
    started_at timestamptz NOT NULL DEFAULT now(),
    -- When it first accepted a connection.
    ready_at   timestamptz,
    ended_at   timestamptz,
    CONSTRAINT jobs_ended_check CHECK ((status = 0) = (ended_at IS NULL))
);

CREATE INDEX jobs_content ON jobs (content_id, id);
CREATE INDEX jobs_bundle ON jobs (bundle_id);
CREATE INDEX jobs_open ON jobs (id) WHERE status = 0;
