-- What servers report: which releases they run, and how candidates in the shadow differ from the live releases. Nothing here
-- is waited for or told to other servers.

CREATE TABLE shadow_counts (
    binding    text        NOT NULL
        CONSTRAINT shadow_counts_binding_fkey REFERENCES plugin_bindings (name) ON DELETE CASCADE,
    candidate  bytea       NOT NULL
        CONSTRAINT shadow_counts_candidate_fkey REFERENCES plugin_releases (hash) ON DELETE CASCADE,
    compared   bigint      NOT NULL CONSTRAINT shadow_counts_compared_check CHECK (compared >= 0),
    differing  bigint      NOT NULL CONSTRAINT shadow_counts_differing_check CHECK (differing >= 0),
    failures   bigint      NOT NULL CONSTRAINT shadow_counts_failures_check CHECK (failures >= 0),
    since_at   timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (binding, candidate)
);

CREATE INDEX shadow_counts_candidate ON shadow_counts (candidate);

CREATE TABLE shadow_differences (
    binding       text        NOT NULL,
    candidate     bytea       NOT NULL,
    -- What is the same in all of them; `other` counts what found no room.
    fingerprint   text        NOT NULL
        CONSTRAINT shadow_differences_fingerprint_check CHECK (octet_length(fingerprint) BETWEEN 1 AND 200),
    kind          text        NOT NULL CONSTRAINT shadow_differences_kind_check CHECK (octet_length(kind) <= 64),
    count         bigint      NOT NULL CONSTRAINT shadow_differences_count_check CHECK (count >= 0),
    -- Redacted by the server that saw it.
    example       json        NOT NULL
        CONSTRAINT shadow_differences_example_check
        CHECK (json_typeof(example) = 'object' AND octet_length(example::text) <= 16384),
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (binding, candidate, fingerprint),
    CONSTRAINT shadow_differences_counts_fkey
        FOREIGN KEY (binding, candidate) REFERENCES shadow_counts (binding, candidate) ON DELETE CASCADE
);

CREATE TABLE node_reports (
    -- One id per start of a server process.
    server_id   uuid        PRIMARY KEY,
    hostname    text        NOT NULL CONSTRAINT node_reports_hostname_check CHECK (length(hostname) <= 255),
    generation  bigint      NOT NULL,
    releases    json        NOT NULL
        CONSTRAINT node_reports_releases_check
        CHECK (json_typeof(releases) = 'object' AND octet_length(releases::text) <= 262144),
    reported_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX node_reports_age ON node_reports (reported_at);
