-- The gate's plugins: packages that were admitted, the releases made of them, the bindings that say which release is asked
-- where, the secrets and trusted keys that belong to them, and the history of all changes. Servers read the whole of it
-- after each change and never while they serve a request.

CREATE TABLE plugin_packages (
    -- BLAKE3 of the package's file: its name in the shared store.
    digest       bytea       PRIMARY KEY CONSTRAINT plugin_packages_digest_check CHECK (octet_length(digest) = 32),
    plugin       text        NOT NULL
        CONSTRAINT plugin_packages_plugin_check CHECK (plugin ~ '^[a-z][a-z0-9-]{0,63}$'),
    version      text        NOT NULL
        CONSTRAINT plugin_packages_version_check
        CHECK (length(version) <= 64 AND version ~ '^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$'),
    size_bytes   bigint      NOT NULL CONSTRAINT plugin_packages_size_check CHECK (size_bytes > 0),
    -- Id of the key at the time: trust in it may end, and the row still says what was checked.
    signed_by    text,
    -- `json` and not `jsonb`, here and below: what is hashed must come back as it was written.
    manifest     json        NOT NULL
        CONSTRAINT plugin_packages_manifest_check
        CHECK (json_typeof(manifest) = 'object' AND octet_length(manifest::text) <= 262144),
    installed_by text        NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now(),
    -- A version is one file for good.
    CONSTRAINT plugin_packages_version_key UNIQUE (plugin, version),
    -- Target of plugin_releases_package_fkey.
    CONSTRAINT plugin_packages_digest_plugin_key UNIQUE (digest, plugin)
);

CREATE TABLE plugin_releases (
    -- Over all that changes what it does: package, config, grants, limits and instances.
    hash       bytea       PRIMARY KEY CONSTRAINT plugin_releases_hash_check CHECK (octet_length(hash) = 32),
    plugin     text        NOT NULL,
    package    bytea       NOT NULL,
    -- Never secrets: those stand in plugin_secrets, sealed. Each server keeps it in memory and hands it to the guest whole.
    config     json        NOT NULL
        CONSTRAINT plugin_releases_config_check
        CHECK (json_typeof(config) = 'object' AND octet_length(config::text) <= 1048576),
    grants     json        NOT NULL CONSTRAINT plugin_releases_grants_check CHECK (json_typeof(grants) = 'array'),
    limits     json        NOT NULL CONSTRAINT plugin_releases_limits_check CHECK (json_typeof(limits) = 'object'),
    instances  text        NOT NULL
        CONSTRAINT plugin_releases_instances_check CHECK (instances IN ('fresh', 'warm')),
    created_by text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT plugin_releases_package_fkey
        FOREIGN KEY (package, plugin) REFERENCES plugin_packages (digest, plugin) ON DELETE CASCADE,
    -- Target of the bindings' references.
    CONSTRAINT plugin_releases_hash_plugin_key UNIQUE (hash, plugin)
);

CREATE INDEX plugin_releases_package ON plugin_releases (package);

CREATE TABLE plugin_bindings (
    name              text        PRIMARY KEY
        CONSTRAINT plugin_bindings_name_check CHECK (name ~ '^[a-z][a-z0-9-]{0,63}$'),
    plugin            text        NOT NULL,
    phases            text[]      NOT NULL
        CONSTRAINT plugin_bindings_phases_check
        CHECK (cardinality(phases) > 0 AND phases <@ ARRAY['route', 'authenticate', 'select']),
    -- Bindings of a phase are asked by position, then by name.
    position          integer     NOT NULL,
    matcher           json        NOT NULL
        CONSTRAINT plugin_bindings_matcher_check
        CHECK (json_typeof(matcher) = 'object' AND octet_length(matcher::text) <= 262144),
    on_failure        text        NOT NULL
        CONSTRAINT plugin_bindings_on_failure_check CHECK (on_failure IN ('fail', 'skip')),
    budget            json        NOT NULL
        CONSTRAINT plugin_bindings_budget_check CHECK (json_typeof(budget) = 'object'),
    enabled           boolean     NOT NULL,
    live              bytea       NOT NULL,
    previous          bytea,
    -- The previous release failed over its budget: no server goes back to it by itself.
    previous_given_up boolean     NOT NULL DEFAULT false,
    candidate         bytea,
    candidate_mode    text CONSTRAINT plugin_bindings_mode_check CHECK (candidate_mode IN ('shadow', 'canary')),
    candidate_share   json
        CONSTRAINT plugin_bindings_share_check
        CHECK (json_typeof(candidate_share) = 'object' AND octet_length(candidate_share::text) <= 262144),
    -- Counts changes: whoever changes the row says which revision they saw.
    revision          bigint      NOT NULL DEFAULT 1,
    changed_by        text        NOT NULL,
    changed_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT plugin_bindings_previous_check CHECK (previous IS NOT NULL OR NOT previous_given_up),
    CONSTRAINT plugin_bindings_candidate_check
        CHECK ((candidate IS NULL) = (candidate_mode IS NULL)
               AND (candidate_share IS NOT NULL) = (candidate_mode IS NOT DISTINCT FROM 'canary')),
    CONSTRAINT plugin_bindings_distinct_check
        CHECK (live IS DISTINCT FROM previous AND live IS DISTINCT FROM candidate),
    -- Releases of its own plugin only; one that is named here keeps its package from being removed.
    CONSTRAINT plugin_bindings_live_fkey FOREIGN KEY (live, plugin) REFERENCES plugin_releases (hash, plugin),
    CONSTRAINT plugin_bindings_previous_fkey FOREIGN KEY (previous, plugin) REFERENCES plugin_releases (hash, plugin),
    CONSTRAINT plugin_bindings_candidate_fkey FOREIGN KEY (candidate, plugin) REFERENCES plugin_releases (hash, plugin)
);

CREATE INDEX plugin_bindings_plugin ON plugin_bindings (plugin);

CREATE FUNCTION plugin_bindings_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := OLD.revision + 1;
    RETURN NEW;
END
$$;

CREATE TRIGGER plugin_bindings_counted BEFORE UPDATE ON plugin_bindings
    FOR EACH ROW EXECUTE FUNCTION plugin_bindings_count();

CREATE TABLE trusted_keys (
    id         text        PRIMARY KEY CONSTRAINT trusted_keys_id_check CHECK (length(id) BETWEEN 1 AND 128),
    public_key text        NOT NULL CONSTRAINT trusted_keys_public_key_key UNIQUE
        CONSTRAINT trusted_keys_public_key_check CHECK (length(public_key) BETWEEN 1 AND 1024),
    comment    text        NOT NULL CONSTRAINT trusted_keys_comment_check CHECK (length(comment) <= 200),
    added_by   text        NOT NULL,
    added_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE plugin_secrets (
    -- May be set before the plugin is installed, and outlives it.
    plugin text        NOT NULL CONSTRAINT plugin_secrets_plugin_check CHECK (plugin ~ '^[a-z][a-z0-9-]{0,63}$'),
    name   text        NOT NULL CONSTRAINT plugin_secrets_name_check CHECK (name ~ '^[A-Za-z0-9_.-]{1,64}$'),
    -- Ciphertext: the database never sees the value. 64 KiB and what sealing adds.
    sealed bytea       NOT NULL CONSTRAINT plugin_secrets_sealed_check CHECK (octet_length(sealed) <= 66560),
    stamp  bigint      NOT NULL DEFAULT nextval('record_stamps'),
    set_by text        NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plugin, name)
);

-- One row. Who changes the gate locks it first, so changes come one after another; it says where the history ends.
CREATE TABLE gate (
    one          boolean PRIMARY KEY DEFAULT true CONSTRAINT gate_one_check CHECK (one),
    generation   bigint  NOT NULL DEFAULT 0,
    history_seq  bigint  NOT NULL DEFAULT 0,
    history_hash bytea   NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
);

INSERT INTO gate DEFAULT VALUES;

-- Every change of what servers load is another generation, also when it was made by hand.
CREATE FUNCTION gate_advance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE gate SET generation = generation + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER plugin_bindings_changed AFTER INSERT OR UPDATE OR DELETE ON plugin_bindings
    FOR EACH ROW EXECUTE FUNCTION gate_advance();
CREATE TRIGGER plugin_secrets_changed AFTER INSERT OR UPDATE OR DELETE ON plugin_secrets
    FOR EACH ROW EXECUTE FUNCTION gate_advance();
CREATE TRIGGER trusted_keys_changed AFTER INSERT OR UPDATE OR DELETE ON trusted_keys
    FOR EACH ROW EXECUTE FUNCTION gate_advance();

CREATE TRIGGER gate_changed AFTER UPDATE ON gate
    FOR EACH ROW WHEN (OLD.generation IS DISTINCT FROM NEW.generation) EXECUTE FUNCTION lectern_notify('gate');

-- What was done. Names things by value: it outlives them.
CREATE TABLE plugin_history (
    -- Counts from 1 without gaps.
    seq          bigint      PRIMARY KEY CONSTRAINT plugin_history_seq_check CHECK (seq > 0),
    made_at      timestamptz NOT NULL,
    actor        text        NOT NULL,
    action       text        NOT NULL,
    binding      text,
    plugin       text,
    from_release bytea,
    to_release   bytea,
    package      bytea,
    reason       text        NOT NULL CONSTRAINT plugin_history_reason_check CHECK (length(reason) <= 1000),
    details      json        NOT NULL
        CONSTRAINT plugin_history_details_check
        CHECK (json_typeof(details) = 'object' AND octet_length(details::text) <= 1048576),
    prev_hash    bytea       NOT NULL,
    -- BLAKE3 over all fields and prev_hash.
    hash         bytea       NOT NULL CONSTRAINT plugin_history_hash_check CHECK (octet_length(hash) = 32)
);

CREATE INDEX plugin_history_binding ON plugin_history (binding, seq);
CREATE INDEX plugin_history_plugin ON plugin_history (plugin, seq);

-- An entry goes to the end and nowhere else. The code for a lost race: the writer reads the end again and repeats.
CREATE FUNCTION plugin_history_append() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE gate SET history_seq = NEW.seq, history_hash = NEW.hash
        WHERE history_seq = NEW.seq - 1 AND history_hash = NEW.prev_hash;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the entry does not follow the end of the history' USING ERRCODE = '40001';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION plugin_history_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history is only appended to' USING ERRCODE = '55000';
END
$$;

CREATE TRIGGER plugin_history_appended BEFORE INSERT ON plugin_history
    FOR EACH ROW EXECUTE FUNCTION plugin_history_append();
CREATE TRIGGER plugin_history_kept BEFORE UPDATE OR DELETE ON plugin_history
    FOR EACH ROW EXECUTE FUNCTION plugin_history_refuse();
CREATE TRIGGER plugin_history_not_emptied BEFORE TRUNCATE ON plugin_history
    FOR EACH STATEMENT EXECUTE FUNCTION plugin_history_refuse();
