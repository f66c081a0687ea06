-- Programs that people let act in their name (OAuth 2): which are registered, what was allowed, and what they may redeem for it.

-- Registering needs no credential, so a registration proves nothing: it is a name to show, and the addresses codes may go to.
CREATE TABLE oauth_clients (
    id            text        PRIMARY KEY CONSTRAINT oauth_clients_id_check CHECK (octet_length(id) BETWEEN 1 AND 128),
    -- As the program calls itself.
    name          text        NOT NULL CONSTRAINT oauth_clients_name_check CHECK (length(name) BETWEEN 1 AND 100),
    redirect_uris text[]      NOT NULL CONSTRAINT oauth_clients_redirects_check CHECK (cardinality(redirect_uris) <= 10),
    grant_types   text[]      NOT NULL CONSTRAINT oauth_clients_grants_check CHECK (cardinality(grant_types) <= 10),
    -- From where it was registered.
    asked_from    text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- When somebody last allowed it something; NULL: nobody has yet.
    used_at       timestamptz
);

CREATE INDEX oauth_clients_unused ON oauth_clients (created_at) WHERE used_at IS NULL;

-- What a user allowed a program. It ends with its row; keys that came of it go with it.
CREATE TABLE oauth_grants (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- BLAKE3 of the part that all refresh tokens of this grant share.
    family     bytea       NOT NULL CONSTRAINT oauth_grants_family_key UNIQUE
        CONSTRAINT oauth_grants_family_check CHECK (octet_length(family) = 32),
    -- BLAKE3 of the part that only the last of them has: another one of the family was used before.
    latest     bytea       NOT NULL CONSTRAINT oauth_grants_latest_check CHECK (octet_length(latest) = 32),
    client_id  text        NOT NULL CONSTRAINT oauth_grants_client_fkey REFERENCES oauth_clients (id) ON DELETE CASCADE,
    user_id    bigint      NOT NULL CONSTRAINT oauth_grants_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    -- The most that it gives.
    role       text        NOT NULL CONSTRAINT oauth_grants_role_check CHECK (role IN ('viewer', 'publisher', 'administrator')),
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When the last token was issued.
    renewed_at timestamptz NOT NULL DEFAULT now(),
    -- Until when it can be refreshed; each refresh moves it.
    expires_at timestamptz NOT NULL
);

CREATE INDEX oauth_grants_user ON oauth_grants (user_id);
CREATE INDEX oauth_grants_client ON oauth_grants (client_id);
CREATE INDEX oauth_grants_expiry ON oauth_grants (expires_at);

-- Authorization codes: worth something once, and for minutes.
CREATE TABLE oauth_codes (
    -- BLAKE3 of the code.
    hash         bytea       PRIMARY KEY CONSTRAINT oauth_codes_hash_check CHECK (octet_length(hash) = 32),
    client_id    text        NOT NULL CONSTRAINT oauth_codes_client_fkey REFERENCES oauth_clients (id) ON DELETE CASCADE,
    user_id      bigint      NOT NULL CONSTRAINT oauth_codes_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    role         text        NOT NULL CONSTRAINT oauth_codes_role_check CHECK (role IN ('viewer', 'publisher', 'administrator')),
    -- As it was asked for, with its port.
    redirect_uri text        NOT NULL,
    -- RFC 7636, S256.
    challenge    text        NOT NULL CONSTRAINT oauth_codes_challenge_check CHECK (octet_length(challenge) = 43),
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    -- What it was redeemed for: ended when the code is seen again.
    grant_id     bigint CONSTRAINT oauth_codes_grant_fkey REFERENCES oauth_grants (id) ON DELETE SET NULL
);

CREATE INDEX oauth_codes_user ON oauth_codes (user_id);
CREATE INDEX oauth_codes_client ON oauth_codes (client_id);
CREATE INDEX oauth_codes_grant ON oauth_codes (grant_id);
CREATE INDEX oauth_codes_expiry ON oauth_codes (expires_at);

-- Programs without a browser, which wait until somebody enters their code (RFC 8628).
CREATE TABLE oauth_devices (
    -- BLAKE3 of the code that the program keeps, and of the one that its user enters.
    hash           bytea       PRIMARY KEY CONSTRAINT oauth_devices_hash_check CHECK (octet_length(hash) = 32),
    user_code_hash bytea       NOT NULL CONSTRAINT oauth_devices_user_code_key UNIQUE
        CONSTRAINT oauth_devices_user_code_check CHECK (octet_length(user_code_hash) = 32),
    client_id      text        NOT NULL CONSTRAINT oauth_devices_client_fkey REFERENCES oauth_clients (id) ON DELETE CASCADE,
    -- The most that is asked for; NULL: all that the user may.
    asked_role     text CONSTRAINT oauth_devices_asked_check CHECK (asked_role IN ('viewer', 'publisher', 'administrator')),
    asked_from     text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    -- When the program last asked, and how long it must wait between.
    polled_at      timestamptz,
    wait_seconds   integer     NOT NULL CONSTRAINT oauth_devices_wait_check CHECK (wait_seconds BETWEEN 1 AND 600),
    denied         boolean     NOT NULL DEFAULT false,
    -- Who allowed it, and how much.
    user_id        bigint CONSTRAINT oauth_devices_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    role           text CONSTRAINT oauth_devices_role_check CHECK (role IN ('viewer', 'publisher', 'administrator')),
    CONSTRAINT oauth_devices_allowed_check CHECK ((user_id IS NULL) = (role IS NULL) AND NOT (denied AND user_id IS NOT NULL))
);

CREATE INDEX oauth_devices_client ON oauth_devices (client_id);
CREATE INDEX oauth_devices_expiry ON oauth_devices (expires_at);

-- Who entered codes that were none, and how many since when: guessing is slow.
CREATE TABLE oauth_guesses (
    user_id  bigint      PRIMARY KEY CONSTRAINT oauth_guesses_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    failures integer     NOT NULL,
    since    timestamptz NOT NULL DEFAULT now()
);

-- An access token is a key that a grant made: it is known wherever keys are, and ends like one. People do not name these, so their
-- names need not differ. A server of the version before lists them among the keys, and revokes them like keys.
ALTER TABLE api_keys
    ADD COLUMN grant_id bigint CONSTRAINT api_keys_grant_fkey REFERENCES oauth_grants (id) ON DELETE CASCADE;
CREATE INDEX api_keys_grant ON api_keys (grant_id);
DROP INDEX api_keys_user_name_key;
CREATE UNIQUE INDEX api_keys_user_name_key ON api_keys (user_id, lower(name)) WHERE revoked_at IS NULL AND grant_id IS NULL;
