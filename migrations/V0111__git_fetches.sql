-- Tasks that begin with making a bundle of a commit: where it comes from, and the number that the bundle gets. Clients are told
-- the number before the bundle is there, so it is taken from the sequence when the task is queued.

CREATE TABLE git_fetches (
    task_id   text    PRIMARY KEY CONSTRAINT git_fetches_task_fkey REFERENCES tasks (id) ON DELETE CASCADE,
    url       text    NOT NULL CONSTRAINT git_fetches_url_check CHECK (length(url) BETWEEN 1 AND 2000),
    branch    text    NOT NULL CONSTRAINT git_fetches_branch_check CHECK (branch <> ''),
    directory text    NOT NULL CONSTRAINT git_fetches_directory_check CHECK (directory <> ''),
    bundle_id bigint  NOT NULL CONSTRAINT git_fetches_bundle_key UNIQUE,
    -- Whether the task is over when the bundle is there.
    is_all    boolean NOT NULL
);
