-- +goose Up
-- The skeleton of each username (Unicode Technical Standard 39), by which registration refuses names that can
-- be mistaken for an existing one. Gatehouse computes it; NULL means not yet, as after an INSERT or UPDATE by
-- hand. Users may share a skeleton, because operators may choose any name.
CREATE TABLE user_skeletons (
    user_id  uuid PRIMARY KEY REFERENCES users (id) ON UPDATE CASCADE ON DELETE CASCADE,
    username text COLLATE "C" NOT NULL,
    skeleton text COLLATE "C"
);
INSERT INTO user_skeletons (user_id, username) SELECT id, username FROM users;
CREATE INDEX user_skeletons_skeleton_idx ON user_skeletons (skeleton);
CREATE INDEX user_skeletons_missing_idx ON user_skeletons (user_id) WHERE skeleton IS NULL;

-- +goose StatementBegin
CREATE FUNCTION users_skeleton() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO user_skeletons (user_id, username) VALUES (NEW.id, NEW.username)
        ON CONFLICT (user_id) DO UPDATE SET username = excluded.username, skeleton = NULL
        WHERE user_skeletons.username <> excluded.username;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER users_skeleton AFTER INSERT OR UPDATE OF username ON users
    FOR EACH ROW EXECUTE FUNCTION users_skeleton();

-- +goose Down
DROP TRIGGER users_skeleton ON users;
DROP FUNCTION users_skeleton();
DROP TABLE user_skeletons;
