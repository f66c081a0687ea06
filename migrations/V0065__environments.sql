-- Execution environments of other executors (images with interpreters), as administrators describe them. This version runs
-- everything on its own host: they are kept and shown.

CREATE TABLE environments (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid          uuid        NOT NULL CONSTRAINT environments_guid_key UNIQUE,
    title         text,
    description   text,
    cluster_name  text        NOT NULL,
    name          text        NOT NULL,
    matching      text        NOT NULL CONSTRAINT environments_matching_check CHECK (matching IN ('any', 'exact', 'none')),
    supervisor    text,
    -- Installations by language, and mounts, as they were sent.
    python        json,
    quarto        json,
    r             json,
    tensorflow    json,
    volume_mounts json        NOT NULL DEFAULT '[]',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT environments_name_key UNIQUE (cluster_name, name)
);

CREATE TABLE environment_permissions (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid           uuid        NOT NULL CONSTRAINT environment_permissions_guid_key UNIQUE,
    environment_id bigint      NOT NULL
        CONSTRAINT environment_permissions_environment_fkey REFERENCES environments (id) ON DELETE CASCADE,
    user_id        bigint      NOT NULL CONSTRAINT environment_permissions_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT environment_permissions_key UNIQUE (environment_id, user_id)
);

CREATE INDEX environment_permissions_user ON environment_permissions (user_id);
