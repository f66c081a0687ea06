-- Who may use an execution environment may be a group, too.

ALTER TABLE environment_permissions ALTER COLUMN user_id DROP NOT NULL;

ALTER TABLE environment_permissions
    ADD COLUMN group_id bigint CONSTRAINT environment_permissions_group_fkey REFERENCES groups (id) ON DELETE CASCADE,
    ADD CONSTRAINT environment_permissions_principal_check CHECK (num_nonnulls(user_id, group_id) = 1),
    ADD CONSTRAINT environment_permissions_group_key UNIQUE (environment_id, group_id);

CREATE INDEX environment_permissions_group ON environment_permissions (group_id);
