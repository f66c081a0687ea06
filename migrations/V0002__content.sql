-- What publishers own: content items, who may open and change them, their uploaded bundles, their environment
-- variables and their vanity paths. Everything that belongs to an item goes with it.

CREATE TABLE content (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid                  uuid        NOT NULL CONSTRAINT content_guid_key UNIQUE,
    name                  text        NOT NULL CONSTRAINT content_name_check CHECK (length(name) BETWEEN 1 AND 255),
    title                 text,
    description           text        NOT NULL DEFAULT '',
    owner_id              bigint      NOT NULL CONSTRAINT content_owner_fkey REFERENCES users (id),
    access_type           text        NOT NULL DEFAULT 'acl'
        CONSTRAINT content_access_type_check CHECK (access_type IN ('all', 'logged_in', 'acl')),
    locked                boolean     NOT NULL DEFAULT false,
    locked_message        text        NOT NULL DEFAULT '',

    -- Scheduler settings; NULL is the server's default. Time-outs in seconds.
    connection_timeout    integer CONSTRAINT content_connection_timeout_check CHECK (connection_timeout BETWEEN 0 AND 2592000),
    read_timeout          integer CONSTRAINT content_read_timeout_check CHECK (read_timeout BETWEEN 0 AND 2592000),
    init_timeout          integer CONSTRAINT content_init_timeout_check CHECK (init_timeout BETWEEN 0 AND 2592000),
    idle_timeout          integer CONSTRAINT content_idle_timeout_check CHECK (idle_timeout BETWEEN 0 AND 2592000),
    max_processes         integer CONSTRAINT content_max_processes_check CHECK (max_processes >= 1),
    min_processes         integer CONSTRAINT content_min_processes_check CHECK (min_processes >= 0),
    max_conns_per_process integer CONSTRAINT content_max_conns_check CHECK (max_conns_per_process >= 1),
    load_factor           double precision CONSTRAINT content_load_factor_check CHECK (load_factor BETWEEN 0 AND 1),
    CONSTRAINT content_processes_check CHECK (min_processes <= max_processes),

    -- The account asked for; NULL is the item's own.
    run_as                text,
    run_as_current_user   boolean     NOT NULL DEFAULT false,
    -- Settings that the protocol carries and this version only keeps (off-host execution and the like), as sent.
    kept_settings         json        NOT NULL DEFAULT '{}'
        CONSTRAINT content_kept_settings_check CHECK (json_typeof(kept_settings) = 'object'),

    -- What the active bundle brought; fixed mode and category from the first activation on.
    active_bundle_id          bigint,
    app_mode                  text    NOT NULL DEFAULT 'unknown',
    content_category          text    NOT NULL DEFAULT '',
    parameterized             boolean NOT NULL DEFAULT false,
    py_version                text,
    r_version                 text,
    quarto_version            text,
    node_version              text,
    py_environment_management boolean,
    r_environment_management  boolean,

    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    last_deployed_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT content_active_has_mode_check CHECK (active_bundle_id IS NULL OR app_mode <> 'unknown')
);

CREATE UNIQUE INDEX content_owner_name_key ON content (owner_id, lower(name));

CREATE TABLE bundles (
    id                        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_id                bigint      NOT NULL CONSTRAINT bundles_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    -- BLAKE3 of the bytes as uploaded: the name in the shared store. Two rows may share one file.
    hash                      bytea       NOT NULL CONSTRAINT bundles_hash_check CHECK (octet_length(hash) = 32),
    size_bytes                bigint      NOT NULL CONSTRAINT bundles_size_check CHECK (size_bytes >= 0),
    -- As sent by the client: kept word for word, so `json` and not `jsonb`.
    metadata                  json        NOT NULL DEFAULT '{}'
        CONSTRAINT bundles_metadata_check CHECK (json_typeof(metadata) = 'object'),
    manifest                  json,
    -- What starting it needs, once it has been prepared.
    prepared                  jsonb,
    app_mode                  text        NOT NULL DEFAULT 'unknown',
    content_category          text        NOT NULL DEFAULT '',
    parameterized             boolean     NOT NULL DEFAULT false,
    py_version                text,
    r_version                 text,
    quarto_version            text,
    node_version              text,
    py_environment_management boolean,
    r_environment_management  boolean,
    created_by                bigint CONSTRAINT bundles_created_by_fkey REFERENCES users (id) ON DELETE SET NULL,
    created_at                timestamptz NOT NULL DEFAULT now(),
    -- Target of content_active_bundle_fkey.
    CONSTRAINT bundles_id_content_key UNIQUE (id, content_id)
);

CREATE INDEX bundles_content ON bundles (content_id);
CREATE INDEX bundles_hash ON bundles (hash);

-- The active bundle is one of the item's own, and cannot be deleted alone; the item may go with all of them.
ALTER TABLE content ADD CONSTRAINT content_active_bundle_fkey
    FOREIGN KEY (active_bundle_id, id) REFERENCES bundles (id, content_id);

CREATE TABLE permissions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_id bigint      NOT NULL CONSTRAINT permissions_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    user_id    bigint      NOT NULL CONSTRAINT permissions_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    role       text        NOT NULL CONSTRAINT permissions_role_check CHECK (role IN ('viewer', 'owner')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT permissions_content_user_key UNIQUE (content_id, user_id)
);

CREATE INDEX permissions_user ON permissions (user_id);

CREATE TABLE vanities (
    content_id bigint      PRIMARY KEY CONSTRAINT vanities_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    -- Normalised by the caller: begins and ends with a slash.
    path       text        NOT NULL CONSTRAINT vanities_path_key UNIQUE
        CONSTRAINT vanities_path_check CHECK (path LIKE '/%/' AND length(path) <= 1024),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE content_variables (
    content_id bigint NOT NULL CONSTRAINT content_variables_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    name       text   NOT NULL CONSTRAINT content_variables_name_check CHECK (name <> ''),
    -- Ciphertext: the database never sees the value.
    sealed     bytea  NOT NULL,
    PRIMARY KEY (content_id, name)
);
