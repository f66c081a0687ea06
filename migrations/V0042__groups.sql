-- Groups of accounts, and permissions for them.

CREATE TABLE groups (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid       uuid        NOT NULL CONSTRAINT groups_guid_key UNIQUE,
    name       text        NOT NULL CONSTRAINT groups_name_check CHECK (length(name) BETWEEN 1 AND 255),
    -- NULL: the owner's account is gone, or another directory says who belongs.
    owner_id   bigint CONSTRAINT groups_owner_fkey REFERENCES users (id) ON DELETE SET NULL,
    -- What another directory calls it; then that directory says who belongs.
    unique_id  text CONSTRAINT groups_unique_id_key UNIQUE
        CONSTRAINT groups_unique_id_check CHECK (length(unique_id) BETWEEN 1 AND 1024),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX groups_name_key ON groups (lower(name));
CREATE INDEX groups_owner ON groups (owner_id);

CREATE TABLE group_members (
    -- Keeps the order in which members were added.
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_id bigint NOT NULL CONSTRAINT group_members_group_fkey REFERENCES groups (id) ON DELETE CASCADE,
    user_id  bigint NOT NULL CONSTRAINT group_members_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT group_members_key UNIQUE (group_id, user_id)
);

CREATE INDEX group_members_user ON group_members (user_id);

-- A server of the version before passes over entries for groups: they give less there, never more.
ALTER TABLE permissions
    ALTER COLUMN user_id DROP NOT NULL,
    ADD COLUMN group_id bigint CONSTRAINT permissions_group_fkey REFERENCES groups (id) ON DELETE CASCADE,
    ADD CONSTRAINT permissions_principal_check CHECK ((user_id IS NULL) <> (group_id IS NULL)),
    ADD CONSTRAINT permissions_content_group_key UNIQUE (content_id, group_id);

CREATE INDEX permissions_group ON permissions (group_id);

-- Who may open what is part of the content's view. Entries of a group that is deleted go with it and tell of themselves.
CREATE TRIGGER group_members_changed AFTER INSERT OR UPDATE OR DELETE ON group_members
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('content');
