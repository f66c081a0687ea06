-- What was changed on the server, and by whom: a chain of entries that is appended to and never changed. Entries name things
-- by value, because they outlive them; so there are no foreign keys.

-- One row: where the log ends. Who appends locks it, so that entries come one after another; nothing else does.
CREATE TABLE audit_head (
    one  boolean PRIMARY KEY DEFAULT true CONSTRAINT audit_head_one_check CHECK (one),
    seq  bigint  NOT NULL DEFAULT 0,
    hash bytea   NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
);

INSERT INTO audit_head DEFAULT VALUES;

CREATE TABLE audit_log (
    -- Counts from 1 without gaps.
    seq         bigint      PRIMARY KEY CONSTRAINT audit_log_seq_check CHECK (seq > 0),
    made_at     timestamptz NOT NULL,
    -- Both or neither: NULL when no account did it.
    user_id     bigint,
    user_guid   uuid,
    actor       text        NOT NULL CONSTRAINT audit_log_actor_check CHECK (length(actor) <= 255),
    action      text        NOT NULL CONSTRAINT audit_log_action_check CHECK (length(action) BETWEEN 1 AND 64),
    description text        NOT NULL CONSTRAINT audit_log_description_check CHECK (length(description) <= 2000),
    prev_hash   bytea       NOT NULL,
    -- BLAKE3 over all fields and prev_hash.
    hash        bytea       NOT NULL CONSTRAINT audit_log_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT audit_log_user_check CHECK ((user_id IS NULL) = (user_guid IS NULL))
);

-- An entry goes to the end and nowhere else. The code for a lost race: the writer reads the end again and repeats.
CREATE FUNCTION audit_log_append() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE audit_head SET seq = NEW.seq, hash = NEW.hash WHERE seq = NEW.seq - 1 AND hash = NEW.prev_hash;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the entry does not follow the end of the audit log' USING ERRCODE = '40001';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only appended to' USING ERRCODE = '55000';
END
$$;

CREATE TRIGGER audit_log_appended BEFORE INSERT ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_append();
CREATE TRIGGER audit_log_kept BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_refuse();
CREATE TRIGGER audit_log_not_emptied BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse();
CREATE TRIGGER audit_head_kept BEFORE DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION audit_log_refuse();
CREATE TRIGGER audit_head_not_emptied BEFORE TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse();
