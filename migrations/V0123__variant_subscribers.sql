-- Who asked to get what a variant is rendered to by mail.

CREATE TABLE variant_subscribers (
    variant_id bigint      NOT NULL CONSTRAINT variant_subscribers_variant_fkey REFERENCES variants (id) ON DELETE CASCADE,
    user_id    bigint      NOT NULL CONSTRAINT variant_subscribers_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (variant_id, user_id)
);

CREATE INDEX variant_subscribers_user ON variant_subscribers (user_id);
