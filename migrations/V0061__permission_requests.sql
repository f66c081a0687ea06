-- Who asked for access to which content. A request goes when it is granted or refused.

CREATE TABLE permission_requests (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_id bigint      NOT NULL CONSTRAINT permission_requests_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    user_id    bigint      NOT NULL CONSTRAINT permission_requests_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    role       text        NOT NULL CONSTRAINT permission_requests_role_check CHECK (role IN ('viewer', 'owner')),
    reason     text        NOT NULL CONSTRAINT permission_requests_reason_check CHECK (length(reason) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT permission_requests_key UNIQUE (content_id, user_id)
);

CREATE INDEX permission_requests_user ON permission_requests (user_id);
