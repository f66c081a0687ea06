-- The ways in which an item is rendered. Each item has one from its beginning on, its default. A trigger makes it, so that items
-- that a server of the version before makes have one as well.

CREATE TABLE variants (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_id          bigint      NOT NULL CONSTRAINT variants_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    -- Names it in addresses, as `v<key>`: hexadecimal digits, of which the first is a letter and the second is none, so that
    -- words and dates that begin with a `v` are left to the content.
    key                 text        NOT NULL DEFAULT
        chr(97 + floor(random() * 6)::integer) || floor(random() * 10)::integer || left(gen_random_uuid()::text, 6)
        CONSTRAINT variants_key_check CHECK (key ~ '^[a-f][0-9][0-9a-f]{6}$'),
    is_default          boolean     NOT NULL,
    name                text        NOT NULL CONSTRAINT variants_name_check CHECK (length(name) BETWEEN 1 AND 255),
    -- Who is to get what was rendered by mail.
    email_collaborators boolean     NOT NULL DEFAULT false,
    email_viewers       boolean     NOT NULL DEFAULT false,
    email_all           boolean     NOT NULL DEFAULT false,
    created_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT variants_content_key_key UNIQUE (content_id, key)
);

CREATE UNIQUE INDEX variants_default_key ON variants (content_id) WHERE is_default;

INSERT INTO variants (content_id, is_default, name, created_at)
    SELECT id, true, 'default', created_at FROM content ORDER BY id;

CREATE FUNCTION lectern_default_variant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO variants (content_id, is_default, name) VALUES (NEW.id, true, 'default');
    RETURN NULL;
END
$$;

CREATE TRIGGER content_default_variant AFTER INSERT ON content
    FOR EACH ROW EXECUTE FUNCTION lectern_default_variant();
