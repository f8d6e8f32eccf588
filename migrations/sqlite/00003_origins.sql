-- +goose Up
-- Where users came from, and what they are called there: an import that is run again finds them,
-- and a session of that other system names them.
CREATE TABLE user_origins (
    source      TEXT NOT NULL CHECK (source <> ''),
    external_id TEXT NOT NULL CHECK (external_id <> '' AND length(external_id) <= 255),
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (source, external_id)
) STRICT;
CREATE INDEX user_origins_user_id_idx ON user_origins (user_id);

-- +goose Down
DROP TABLE user_origins;
