-- Programs that sign their requests with a key of their own: which public key is whose, and which signatures were used.

CREATE TABLE signed_tokens (
    -- Chosen by the client, in the letter case it chose.
    id           text        PRIMARY KEY CONSTRAINT signed_tokens_id_check CHECK (octet_length(id) BETWEEN 1 AND 128),
    -- The RSA key as PKCS#1 `RSAPublicKey`, DER. Public: it proves nothing by itself.
    public_key   bytea       NOT NULL CONSTRAINT signed_tokens_key_check CHECK (octet_length(public_key) <= 4096),
    -- From where it was asked for, shown to who is to confirm it.
    asked_from   text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- Until when it may be claimed.
    expires_at   timestamptz NOT NULL,
    -- Who confirmed it; until then it proves nothing.
    user_id      bigint CONSTRAINT signed_tokens_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    claimed_at   timestamptz,
    last_used_at timestamptz,
    CONSTRAINT signed_tokens_claim_check CHECK ((user_id IS NULL) = (claimed_at IS NULL))
);

CREATE INDEX signed_tokens_user ON signed_tokens (user_id);
CREATE INDEX signed_tokens_unclaimed ON signed_tokens (expires_at) WHERE user_id IS NULL;

-- A request that changes something counts once. Rows outlive the time in which its date is accepted.
CREATE TABLE used_signatures (
    hash       bytea       PRIMARY KEY CONSTRAINT used_signatures_hash_check CHECK (octet_length(hash) = 32),
    expires_at timestamptz NOT NULL
);

CREATE INDEX used_signatures_expiry ON used_signatures (expires_at);
