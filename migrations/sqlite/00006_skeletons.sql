-- +goose Up
-- The skeleton of each username (Unicode Technical Standard 39), by which registration refuses names that can
-- be mistaken for an existing one. Gatehouse computes it; NULL means not yet, as after an INSERT or UPDATE by
-- hand. Users may share a skeleton, because operators may choose any name.
CREATE TABLE user_skeletons (
    user_id  TEXT NOT NULL PRIMARY KEY REFERENCES users (id) ON UPDATE CASCADE ON DELETE CASCADE,
    username TEXT NOT NULL,
    skeleton TEXT
) STRICT;
INSERT INTO user_skeletons (user_id, username) SELECT id, username FROM users;
CREATE INDEX user_skeletons_skeleton_idx ON user_skeletons (skeleton);
CREATE INDEX user_skeletons_missing_idx ON user_skeletons (user_id) WHERE skeleton IS NULL;

-- +goose StatementBegin
CREATE TRIGGER users_skeleton_insert AFTER INSERT ON users
BEGIN
    INSERT INTO user_skeletons (user_id, username) VALUES (NEW.id, NEW.username)
        ON CONFLICT (user_id) DO UPDATE SET username = excluded.username, skeleton = NULL
        WHERE user_skeletons.username <> excluded.username;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_skeleton_update AFTER UPDATE OF username ON users
BEGIN
    INSERT INTO user_skeletons (user_id, username) VALUES (NEW.id, NEW.username)
        ON CONFLICT (user_id) DO UPDATE SET username = excluded.username, skeleton = NULL
        WHERE user_skeletons.username <> excluded.username;
END;
-- +goose StatementEnd
-- Statements by hand run without foreign keys unless they are turned on.
-- +goose StatementBegin
CREATE TRIGGER users_skeleton_delete AFTER DELETE ON users
BEGIN
    DELETE FROM user_skeletons WHERE user_id = OLD.id;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER users_skeleton_insert;
DROP TRIGGER users_skeleton_update;
DROP TRIGGER users_skeleton_delete;
DROP TABLE user_skeletons;
