-- Visits of content, one row each. Written in batches some seconds after the fact, kept for a configured time.

CREATE TABLE hits (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_id bigint      NOT NULL CONSTRAINT hits_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    -- NULL: nobody in particular.
    user_id    bigint      CONSTRAINT hits_user_fkey REFERENCES users (id) ON DELETE SET NULL,
    -- What was shown. No foreign key: the bundle may go before the record of who saw it.
    bundle_id  bigint      NOT NULL,
    at         timestamptz NOT NULL,
    -- Inside the content, without the query.
    path       text        NOT NULL CONSTRAINT hits_path_check CHECK (octet_length(path) <= 1024),
    user_agent text        NOT NULL CONSTRAINT hits_user_agent_check CHECK (octet_length(user_agent) <= 512)
);

CREATE INDEX hits_content ON hits (content_id, id);
CREATE INDEX hits_at ON hits (at);
