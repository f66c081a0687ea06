-- Who may use the server: accounts, what proves them (passwords, API keys, browser sessions), and the few values that
-- belong to the installation as a whole. Secrets are stored only as hashes.

CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid          uuid        NOT NULL CONSTRAINT users_guid_key UNIQUE,
    username      text        NOT NULL CONSTRAINT users_username_check CHECK (length(username) BETWEEN 1 AND 255),
    email         text        NOT NULL DEFAULT '',
    first_name    text        NOT NULL DEFAULT '',
    last_name     text        NOT NULL DEFAULT '',
    role          text        NOT NULL
        CONSTRAINT users_role_check CHECK (role IN ('viewer', 'publisher', 'administrator')),
    -- NULL: the account cannot sign in with a password.
    password_hash text,
    locked        boolean     NOT NULL DEFAULT false,
    confirmed     boolean     NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    active_at     timestamptz
);

-- `Ada` and `ada` are one person.
CREATE UNIQUE INDEX users_username_key ON users (lower(username));

-- A stamp names one state of a record over the life of the database: caches of decisions are keyed by it.
CREATE SEQUENCE record_stamps;

CREATE TABLE api_keys (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint      NOT NULL CONSTRAINT api_keys_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    name       text        NOT NULL,
    role       text        NOT NULL
        CONSTRAINT api_keys_role_check CHECK (role IN ('viewer', 'publisher', 'administrator')),
    -- BLAKE3 of the key's text; the text is shown once and stored nowhere.
    hash       bytea       NOT NULL CONSTRAINT api_keys_hash_key UNIQUE
        CONSTRAINT api_keys_hash_check CHECK (octet_length(hash) = 32),
    stamp      bigint      NOT NULL DEFAULT nextval('record_stamps'),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE INDEX api_keys_user ON api_keys (user_id);

CREATE TABLE sessions (
    -- BLAKE3 of the token in the visitor's cookie.
    hash       bytea       PRIMARY KEY CONSTRAINT sessions_hash_check CHECK (octet_length(hash) = 32),
    user_id    bigint      NOT NULL CONSTRAINT sessions_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT sessions_expiry_check CHECK (expires_at > created_at)
);

CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Values of the installation: its id, and whatever must be equal on every server that uses this database.
CREATE TABLE settings (
    key   text PRIMARY KEY,
    value text NOT NULL
);
