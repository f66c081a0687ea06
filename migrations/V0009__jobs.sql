-- What a run took, why it ended and who ended it; and deployments as jobs, because clients find the log of a deployment
-- among the jobs of its content. The log of such a job is the task's output, which therefore has times.

ALTER TABLE jobs
    -- The task that this job is; NULL for a process of content.
    ADD COLUMN task_id text CONSTRAINT jobs_task_fkey REFERENCES tasks (id) ON DELETE CASCADE,
    -- Why it ended, in words for its publisher.
    ADD COLUMN reason text,
    -- The user who had it stopped, by name: the record outlives the account.
    ADD COLUMN stopped_by text,
    -- Processor time of the process and all that it started.
    ADD COLUMN cpu_seconds double precision CONSTRAINT jobs_cpu_check CHECK (cpu_seconds >= 0),
    ADD COLUMN peak_memory_bytes bigint CONSTRAINT jobs_memory_check CHECK (peak_memory_bytes >= 0);

CREATE UNIQUE INDEX jobs_task ON jobs (task_id);
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE status <> 0;

ALTER TABLE task_output ADD COLUMN written_at timestamptz NOT NULL DEFAULT now();

-- A task ends in several ways (done, given up, stopped), and its job with it in each.
CREATE FUNCTION lectern_task_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs SET status = 2, exit_code = NEW.code, ended_at = NEW.finished_at, reason = nullif(NEW.error, '')
    WHERE task_id = NEW.id AND status = 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER tasks_ended AFTER UPDATE ON tasks
    FOR EACH ROW WHEN (NEW.state = 'finished' AND OLD.state <> 'finished') EXECUTE FUNCTION lectern_task_job();
