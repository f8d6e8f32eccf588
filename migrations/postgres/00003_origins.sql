-- +goose Up
-- The systems that users were imported from, and their ids there: a repeated import recognizes the
-- users, and so does a session of the other system.
CREATE TABLE user_origins (
    source      text COLLATE "C" NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    user_id     uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (source, external_id),
    CONSTRAINT user_origins_check CHECK (source <> '' AND external_id <> '' AND char_length(external_id) <= 255)
);
CREATE INDEX user_origins_user_id_idx ON user_origins (user_id);

-- +goose Down
DROP TABLE user_origins;
