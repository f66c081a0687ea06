-- Tells every server which part of its in-memory view became stale, when the change commits. Row triggers and not
-- the application do it: cascades and repairs by hand are told too. PostgreSQL folds equal notifications of one
-- transaction into one, and a statement that changes no row tells nobody.

CREATE FUNCTION lectern_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('lectern', TG_ARGV[0]);
    RETURN NULL;
END
$$;

CREATE TRIGGER content_changed AFTER INSERT OR UPDATE OR DELETE ON content
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('content');
CREATE TRIGGER permissions_changed AFTER INSERT OR UPDATE OR DELETE ON permissions
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('content');
CREATE TRIGGER vanities_changed AFTER INSERT OR UPDATE OR DELETE ON vanities
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('content');
CREATE TRIGGER content_variables_changed AFTER INSERT OR UPDATE OR DELETE ON content_variables
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('content');

-- Only prepared bundles are in the view.
CREATE TRIGGER bundles_prepared AFTER UPDATE ON bundles
    FOR EACH ROW WHEN (OLD.prepared IS DISTINCT FROM NEW.prepared) EXECUTE FUNCTION lectern_notify('content');
CREATE TRIGGER bundles_deleted AFTER DELETE ON bundles
    FOR EACH ROW WHEN (OLD.prepared IS NOT NULL) EXECUTE FUNCTION lectern_notify('content');

-- The time of last activity is not in the view.
CREATE TRIGGER users_changed AFTER UPDATE ON users
    FOR EACH ROW WHEN ((OLD.guid, OLD.username, OLD.role, OLD.locked) IS DISTINCT FROM (NEW.guid, NEW.username, NEW.role, NEW.locked))
    EXECUTE FUNCTION lectern_notify('users');
CREATE TRIGGER users_added_or_removed AFTER INSERT OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('users');

CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('keys');
CREATE TRIGGER sessions_changed AFTER INSERT OR UPDATE OR DELETE ON sessions
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('sessions');

-- Renewing a lease is no news; new work, new output and a new state are.
CREATE TRIGGER tasks_added_or_removed AFTER INSERT OR DELETE ON tasks
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('tasks');
CREATE TRIGGER tasks_changed AFTER UPDATE ON tasks
    FOR EACH ROW WHEN ((OLD.state, OLD.output_lines) IS DISTINCT FROM (NEW.state, NEW.output_lines))
    EXECUTE FUNCTION lectern_notify('tasks');
