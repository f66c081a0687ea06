-- Integrations: services outside (and this server's own API) that content reaches in a visitor's name, or in its own. Which
-- content uses which, who has signed in to which, and who is on the way to.

CREATE TABLE oauth_integrations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid        uuid        NOT NULL CONSTRAINT oauth_integrations_guid_key UNIQUE,
    name        text CONSTRAINT oauth_integrations_name_check CHECK (length(name) BETWEEN 1 AND 255),
    description text CONSTRAINT oauth_integrations_description_check CHECK (length(description) <= 4096),
    -- Which fields the configuration has: a word of `domain::integrations`.
    template    text        NOT NULL CONSTRAINT oauth_integrations_template_check CHECK (length(template) BETWEEN 1 AND 64),
    auth_type   text        NOT NULL
        CONSTRAINT oauth_integrations_auth_type_check CHECK (auth_type IN ('Viewer', 'Service Account', 'Visitor API Key')),
    -- Without what is secret.
    config      jsonb       NOT NULL
        CONSTRAINT oauth_integrations_config_check CHECK (jsonb_typeof(config) = 'object'),
    -- What is secret of the configuration, a JSON object, sealed; NULL: nothing is.
    sealed      bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- Who may use an integration in content of theirs; without any: all publishers.
CREATE TABLE oauth_integration_permissions (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid           uuid        NOT NULL CONSTRAINT oauth_integration_permissions_guid_key UNIQUE,
    integration_id bigint      NOT NULL
        CONSTRAINT oauth_integration_permissions_integration_fkey REFERENCES oauth_integrations (id) ON DELETE CASCADE,
    user_id        bigint CONSTRAINT oauth_integration_permissions_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    group_id       bigint CONSTRAINT oauth_integration_permissions_group_fkey REFERENCES groups (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT oauth_integration_permissions_principal_check CHECK ((user_id IS NULL) <> (group_id IS NULL)),
    CONSTRAINT oauth_integration_permissions_user_key UNIQUE (integration_id, user_id),
    CONSTRAINT oauth_integration_permissions_group_key UNIQUE (integration_id, group_id)
);

CREATE INDEX oauth_integration_permissions_user ON oauth_integration_permissions (user_id);
CREATE INDEX oauth_integration_permissions_group ON oauth_integration_permissions (group_id);

-- Which content uses which integrations. Row numbers keep the order in which they were chosen.
CREATE TABLE oauth_associations (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_id     bigint      NOT NULL
        CONSTRAINT oauth_associations_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    integration_id bigint      NOT NULL
        CONSTRAINT oauth_associations_integration_fkey REFERENCES oauth_integrations (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT oauth_associations_key UNIQUE (content_id, integration_id)
);

CREATE INDEX oauth_associations_integration ON oauth_associations (integration_id);

-- Whether content has any is part of the view: only then it is told who visits, by a token.
CREATE TRIGGER oauth_associations_changed AFTER INSERT OR UPDATE OR DELETE ON oauth_associations
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('content');

-- What a user got by signing in to an integration. The tokens are sealed together, as a JSON object.
CREATE TABLE oauth_sessions (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid              uuid        NOT NULL CONSTRAINT oauth_sessions_guid_key UNIQUE,
    user_id           bigint      NOT NULL CONSTRAINT oauth_sessions_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    integration_id    bigint      NOT NULL
        CONSTRAINT oauth_sessions_integration_fkey REFERENCES oauth_integrations (id) ON DELETE CASCADE,
    sealed            bytea       NOT NULL,
    has_refresh_token boolean     NOT NULL,
    -- When the access token ends; NULL: nobody said.
    expires_at        timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT oauth_sessions_key UNIQUE (user_id, integration_id)
);

CREATE INDEX oauth_sessions_integration ON oauth_sessions (integration_id);

-- Who is signing in to an integration at the moment: on the way to the provider and back.
CREATE TABLE oauth_logins (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid           uuid        NOT NULL CONSTRAINT oauth_logins_guid_key UNIQUE,
    -- BLAKE3 of the `state` that the provider hands back.
    state_hash     bytea       NOT NULL CONSTRAINT oauth_logins_state_key UNIQUE
        CONSTRAINT oauth_logins_state_check CHECK (octet_length(state_hash) = 32),
    user_id        bigint      NOT NULL CONSTRAINT oauth_logins_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    integration_id bigint      NOT NULL
        CONSTRAINT oauth_logins_integration_fkey REFERENCES oauth_integrations (id) ON DELETE CASCADE,
    -- The PKCE verifier (RFC 7636).
    sealed         bytea       NOT NULL,
    -- A path of this server to go to in the end.
    return_to      text        NOT NULL CONSTRAINT oauth_logins_return_check CHECK (return_to LIKE '/%' AND length(return_to) <= 2048),
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL
);

CREATE INDEX oauth_logins_user ON oauth_logins (user_id);
CREATE INDEX oauth_logins_integration ON oauth_logins (integration_id);
CREATE INDEX oauth_logins_expiry ON oauth_logins (expires_at);

-- A visitor's key for content is a key that an association made: it is known wherever keys are, and ends with the association.
-- People do not name these either. A server of the version before lists them among the keys, and revokes them like keys.
ALTER TABLE api_keys
    ADD COLUMN association_id bigint
        CONSTRAINT api_keys_association_fkey REFERENCES oauth_associations (id) ON DELETE CASCADE,
    -- From it and a secret that the database does not have, the key's text is computed: asking again gives the same key.
    ADD COLUMN seed           bytea CONSTRAINT api_keys_seed_check CHECK (octet_length(seed) = 16),
    ADD CONSTRAINT api_keys_visitor_check CHECK ((association_id IS NULL) = (seed IS NULL));
CREATE INDEX api_keys_association ON api_keys (association_id, user_id);
DROP INDEX api_keys_user_name_key;
CREATE UNIQUE INDEX api_keys_user_name_key ON api_keys (user_id, lower(name))
    WHERE revoked_at IS NULL AND grant_id IS NULL AND association_id IS NULL;
