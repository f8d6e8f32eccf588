-- +goose Up
-- The systems that users were imported from, and their ids there: a repeated import recognizes the
-- users, and so does a session of the other system.
CREATE TABLE user_origins (
    source      TEXT NOT NULL CHECK (source <> ''),
    external_id TEXT NOT NULL CHECK (external_id <> '' AND length(external_id) <= 255),
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (source, external_id)
) STRICT;
CREATE INDEX user_origins_user_id_idx ON user_origins (user_id);

-- +goose Down
DROP TABLE user_origins;
