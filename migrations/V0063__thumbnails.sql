-- Pictures of content items, as they were sent. They are few and small, and go with their item; so they are here and not in
-- the store of bundles.

CREATE TABLE thumbnails (
    content_id bigint      PRIMARY KEY CONSTRAINT thumbnails_content_fkey REFERENCES content (id) ON DELETE CASCADE,
    -- The media type, as recognised in the bytes.
    kind       text        NOT NULL CONSTRAINT thumbnails_kind_check CHECK (kind LIKE 'image/%'),
    -- BLAKE3 of the bytes: what browsers and servers know a picture by.
    hash       bytea       NOT NULL CONSTRAINT thumbnails_hash_check CHECK (octet_length(hash) = 32),
    bytes      bytea       NOT NULL CONSTRAINT thumbnails_bytes_check CHECK (octet_length(bytes) BETWEEN 1 AND 5242880),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Pictures are compressed already.
ALTER TABLE thumbnails ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TRIGGER thumbnails_changed AFTER INSERT OR UPDATE OR DELETE ON thumbnails
    FOR EACH ROW EXECUTE FUNCTION lectern_notify('content');
