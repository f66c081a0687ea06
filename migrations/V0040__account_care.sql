-- What looking after accounts needs: keys that end, and when they were used last; sessions that can be named without their
-- secret; links by which an administrator lets somebody choose a password.

-- Names of keys are unique among the keys an account has. Until now nobody checked: the younger of two equal names gets its number.
UPDATE api_keys k SET name = left(k.name, 200) || ' (' || k.id || ')'
WHERE k.revoked_at IS NULL AND EXISTS (
    SELECT 1 FROM api_keys o
    WHERE o.user_id = k.user_id AND lower(o.name) = lower(k.name) AND o.revoked_at IS NULL AND o.id < k.id
);
CREATE UNIQUE INDEX api_keys_user_name_key ON api_keys (user_id, lower(name)) WHERE revoked_at IS NULL;

ALTER TABLE api_keys
    -- NULL: until it is revoked.
    ADD COLUMN expires_at   timestamptz,
    -- To the minute or so: uses are written down in batches.
    ADD COLUMN last_used_at timestamptz;

-- That a key was used is no news.
DROP TRIGGER api_keys_changed ON api_keys;
CREATE TRIGGER api_keys_changed AFTER UPDATE ON api_keys
    FOR EACH ROW WHEN ((OLD.user_id, OLD.role, OLD.hash, OLD.stamp, OLD.expires_at, OLD.revoked_at)
        IS DISTINCT FROM (NEW.user_id, NEW.role, NEW.hash, NEW.stamp, NEW.expires_at, NEW.revoked_at))
    EXECUTE FUNCTION lectern_notify('keys');
CREATE TRIGGER api_keys_added_or_removed AFTER INSERT OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('keys');

ALTER TABLE sessions
    -- Names the session in lists; it opens nothing.
    ADD COLUMN guid      uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT sessions_guid_key UNIQUE,
    -- BLAKE3 of the secret that a client, unlike a browser, sends with a request that changes something; NULL: this session
    -- changes nothing through the API.
    ADD COLUMN xsrf_hash bytea CONSTRAINT sessions_xsrf_hash_check CHECK (octet_length(xsrf_hash) = 32);

CREATE TABLE password_links (
    -- BLAKE3 of the secret in the link.
    hash       bytea       PRIMARY KEY CONSTRAINT password_links_hash_check CHECK (octet_length(hash) = 32),
    -- One account has one link: a new one ends the one before.
    user_id    bigint      NOT NULL CONSTRAINT password_links_user_key UNIQUE
        CONSTRAINT password_links_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT password_links_expiry_check CHECK (expires_at > created_at)
);
