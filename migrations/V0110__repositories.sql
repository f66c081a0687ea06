-- Git-managed content: where each item comes from, and how following it goes. A row has a lease, so that one server looks at
-- a repository at a time.

CREATE TABLE content_repositories (
    content_id        bigint      PRIMARY KEY CONSTRAINT content_repositories_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    url               text        NOT NULL CONSTRAINT content_repositories_url_check CHECK (length(url) BETWEEN 1 AND 2000),
    branch            text        NOT NULL CONSTRAINT content_repositories_branch_check CHECK (branch <> ''),
    directory         text        NOT NULL CONSTRAINT content_repositories_directory_check CHECK (directory <> ''),
    polling           boolean     NOT NULL,
    -- Why the last look or deployment failed; NULL when it did not.
    last_error        text,
    -- The last commit that was taken, whatever became of it.
    last_known_commit text        CONSTRAINT content_repositories_commit_check CHECK (last_known_commit ~ '^[0-9a-f]{40}$'),
    -- Looks that failed in a row.
    failures          integer     NOT NULL DEFAULT 0 CONSTRAINT content_repositories_failures_check CHECK (failures >= 0),
    next_poll_at      timestamptz NOT NULL,
    lease_owner       uuid,
    lease_expires_at  timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT content_repositories_lease_check CHECK ((lease_owner IS NULL) = (lease_expires_at IS NULL))
);

CREATE INDEX content_repositories_due ON content_repositories (next_poll_at) WHERE polling;
