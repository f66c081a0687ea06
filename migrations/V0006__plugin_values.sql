-- A small store for each plugin. A counter per plugin, kept by triggers, bounds it without counting rows: the row that would
-- pass the bound is refused in its own statement, whoever writes it.

CREATE TABLE plugin_values (
    plugin     text   NOT NULL CONSTRAINT plugin_values_plugin_check CHECK (plugin ~ '^[a-z][a-z0-9-]{0,63}$'),
    key        text   NOT NULL CONSTRAINT plugin_values_key_check CHECK (octet_length(key) BETWEEN 1 AND 256),
    value      bytea  NOT NULL CONSTRAINT plugin_values_value_check CHECK (octet_length(value) <= 65536),
    -- From then on as good as absent; NULL: never.
    expires_at timestamptz,
    -- Never the same for two states of a key, also after it was absent.
    version    bigint NOT NULL DEFAULT nextval('record_stamps'),
    PRIMARY KEY (plugin, key)
);

CREATE INDEX plugin_values_expiry ON plugin_values (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE plugin_usage (
    plugin     text    PRIMARY KEY,
    keys       bigint  NOT NULL DEFAULT 0,
    -- Of keys and values.
    bytes      bigint  NOT NULL DEFAULT 0,
    -- A store for sign-ins that are under way and counters, not for data: 8 MiB is read through in no time.
    most_keys  bigint  NOT NULL DEFAULT 10000,
    most_bytes bigint  NOT NULL DEFAULT 8388608,
    CONSTRAINT plugin_usage_keys_check CHECK (keys BETWEEN 0 AND most_keys),
    CONSTRAINT plugin_usage_bytes_check CHECK (bytes BETWEEN 0 AND most_bytes)
);

CREATE FUNCTION plugin_values_count() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    whose      text   := coalesce(NEW.plugin, OLD.plugin);
    more_keys  bigint := CASE TG_OP WHEN 'INSERT' THEN 1 WHEN 'DELETE' THEN -1 ELSE 0 END;
    more_bytes bigint := coalesce(octet_length(NEW.key) + octet_length(NEW.value), 0)
                       - coalesce(octet_length(OLD.key) + octet_length(OLD.value), 0);
BEGIN
    UPDATE plugin_usage SET keys = keys + more_keys, bytes = bytes + more_bytes
        WHERE plugin = whose AND keys + more_keys <= most_keys AND bytes + more_bytes <= most_bytes;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO plugin_usage (plugin) VALUES (whose) ON CONFLICT DO NOTHING;
    -- What has expired makes room. The counter is held first: who makes room at the same time has counted it when it is
    -- free. Rows that another transaction works on are left to it: it may wait for the counter.
    PERFORM 1 FROM plugin_usage WHERE plugin = whose FOR UPDATE;
    DELETE FROM plugin_values WHERE plugin = whose AND key IN (
        SELECT key FROM plugin_values WHERE plugin = whose AND key <> coalesce(NEW.key, OLD.key) AND expires_at <= now()
        FOR UPDATE SKIP LOCKED);
    -- The table's rules refuse what still does not fit.
    UPDATE plugin_usage SET keys = keys + more_keys, bytes = bytes + more_bytes WHERE plugin = whose;
    RETURN NULL;
END
$$;

CREATE TRIGGER plugin_values_added_or_removed AFTER INSERT OR DELETE ON plugin_values
    FOR EACH ROW EXECUTE FUNCTION plugin_values_count();
CREATE TRIGGER plugin_values_resized AFTER UPDATE ON plugin_values
    FOR EACH ROW WHEN (octet_length(OLD.value) <> octet_length(NEW.value)) EXECUTE FUNCTION plugin_values_count();

-- A row stays where it is counted.
CREATE FUNCTION plugin_values_refuse_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a value stays with its plugin and key' USING ERRCODE = '55000';
END
$$;

CREATE TRIGGER plugin_values_moved BEFORE UPDATE ON plugin_values
    FOR EACH ROW WHEN (OLD.plugin <> NEW.plugin OR OLD.key <> NEW.key) EXECUTE FUNCTION plugin_values_refuse_move();
