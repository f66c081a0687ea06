-- Which packages a prepared bundle runs with, as found in its environment (Python) or named by its manifest (R). Written
-- again whenever the bundle is prepared.

CREATE TABLE bundle_packages (
    bundle_id bigint NOT NULL CONSTRAINT bundle_packages_bundle_fkey REFERENCES bundles (id) ON DELETE CASCADE,
    language  text   NOT NULL CONSTRAINT bundle_packages_language_check CHECK (language IN ('python', 'r')),
    name      text   NOT NULL,
    version   text   NOT NULL,
    -- Where the source says one.
    hash      text,
    PRIMARY KEY (bundle_id, language, name)
);

CREATE INDEX bundle_packages_name ON bundle_packages (lower(name));
