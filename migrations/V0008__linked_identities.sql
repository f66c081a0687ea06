-- People whom another directory vouches for: which account their subject there is, and what the directory said about them
-- when their session began.

CREATE TABLE linked_identities (
    issuer       text        NOT NULL
        CONSTRAINT linked_identities_issuer_check CHECK (octet_length(issuer) BETWEEN 1 AND 1024),
    subject      text        NOT NULL
        CONSTRAINT linked_identities_subject_check CHECK (octet_length(subject) BETWEEN 1 AND 1024),
    user_id      bigint      NOT NULL
        CONSTRAINT linked_identities_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    -- The account exists because of this identity: the other directory says who it is. Else it was linked to an account
    -- that is kept here.
    made_account boolean     NOT NULL,
    linked_at    timestamptz NOT NULL DEFAULT now(),
    signed_in_at timestamptz,
    PRIMARY KEY (issuer, subject)
);

CREATE INDEX linked_identities_user ON linked_identities (user_id);

-- Groups by name, as the plugin gave them; old servers know none and leave the default.
ALTER TABLE sessions
    ADD COLUMN groups text[] NOT NULL DEFAULT '{}'
        CONSTRAINT sessions_groups_check CHECK (cardinality(groups) <= 500 AND array_position(groups, NULL) IS NULL),
    -- The plugin that signed the visitor in.
    ADD COLUMN source text;
