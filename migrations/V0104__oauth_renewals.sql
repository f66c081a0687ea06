-- Who renews a user's tokens at the moment: many providers take a refresh token once, and end everything when it is used again. So one
-- asks the provider, on whichever server, and the others wait for what comes of it.
ALTER TABLE oauth_sessions
    -- Until when nobody else may ask; NULL or past: nobody does.
    ADD COLUMN renewing_until timestamptz;
