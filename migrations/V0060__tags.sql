-- Tags: a tree of names that administrators make, and which content bears which. The roots are categories, which only
-- sort tags and are on no content; that rule is the application's, because a CHECK sees one row.

CREATE TABLE tags (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text        NOT NULL CONSTRAINT tags_name_check CHECK (length(name) BETWEEN 1 AND 255),
    -- NULL: a category.
    parent_id  bigint CONSTRAINT tags_parent_fkey REFERENCES tags (id) ON DELETE CASCADE
        CONSTRAINT tags_parent_check CHECK (parent_id <> id),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Siblings have different names; letter case does not tell them apart. No tag has the number 0.
CREATE UNIQUE INDEX tags_sibling_name_key ON tags (coalesce(parent_id, 0), lower(name));
CREATE INDEX tags_parent ON tags (parent_id);

CREATE TABLE content_tags (
    content_id bigint      NOT NULL CONSTRAINT content_tags_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    tag_id     bigint      NOT NULL CONSTRAINT content_tags_tag_fkey REFERENCES tags (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (content_id, tag_id)
);

CREATE INDEX content_tags_tag ON content_tags (tag_id);
