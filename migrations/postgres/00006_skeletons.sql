-- +goose Up
-- What each user name looks like (Unicode Technical Standard 39), so that nobody can register a name that
-- can be mistaken for another one. Gatehouse computes it: NULL means not yet, as in a row that was
-- inserted or renamed by hand. Two users may share a skeleton: operators may give any name.
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
