-- What variants were rendered to, newest last. At most one of a variant is active: the one that visitors see.

CREATE TABLE renderings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    variant_id  bigint      NOT NULL CONSTRAINT renderings_variant_fkey REFERENCES variants (id) ON DELETE CASCADE,
    -- NULL once the bundle was deleted.
    bundle_id   bigint      CONSTRAINT renderings_bundle_fkey REFERENCES bundles (id) ON DELETE SET NULL,
    -- The run that made it; its record may go first.
    job_key     text        NOT NULL,
    active      boolean     NOT NULL,
    rendered_at timestamptz NOT NULL,
    duration_ns bigint      NOT NULL CONSTRAINT renderings_duration_check CHECK (duration_ns >= 0)
);

CREATE INDEX renderings_variant ON renderings (variant_id, id);
CREATE INDEX renderings_bundle ON renderings (bundle_id);
CREATE UNIQUE INDEX renderings_active_key ON renderings (variant_id) WHERE active;
