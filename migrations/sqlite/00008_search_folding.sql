-- +goose Up
-- The text that the user search matches: username, name and email without case and accents, folded once per change instead
-- of once per search. Line feeds keep a search from matching across two of them. The triggers fold ASCII; Gatehouse folds
-- rows with other characters, which are pending until then, as after an INSERT or UPDATE by hand. A search scans this table
-- and reads no rows of the table users.
CREATE TABLE user_search (
    user_id TEXT    NOT NULL PRIMARY KEY REFERENCES users (id) ON UPDATE CASCADE ON DELETE CASCADE,
    folded  TEXT    NOT NULL,
    pending INTEGER NOT NULL CHECK (pending IN (0, 1))
) STRICT, WITHOUT ROWID;

INSERT INTO user_search (user_id, folded, pending)
    SELECT id, lower(t), length(CAST(t AS BLOB)) <> length(t)
    FROM (SELECT id, username || char(10) || name || char(10) || email AS t FROM users);
CREATE INDEX user_search_pending_idx ON user_search (user_id) WHERE pending;
DROP INDEX users_search_idx;

-- +goose StatementBegin
CREATE TRIGGER users_search_insert AFTER INSERT ON users
BEGIN
    INSERT INTO user_search (user_id, folded, pending)
        SELECT NEW.id, lower(t), length(CAST(t AS BLOB)) <> length(t)
        FROM (SELECT NEW.username || char(10) || NEW.name || char(10) || NEW.email AS t) WHERE true
        ON CONFLICT (user_id) DO UPDATE SET folded = excluded.folded, pending = excluded.pending;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_search_update AFTER UPDATE OF username, name, email ON users
WHEN NEW.username <> OLD.username OR NEW.name <> OLD.name OR NEW.email <> OLD.email
BEGIN
    INSERT INTO user_search (user_id, folded, pending)
        SELECT NEW.id, lower(t), length(CAST(t AS BLOB)) <> length(t)
        FROM (SELECT NEW.username || char(10) || NEW.name || char(10) || NEW.email AS t) WHERE true
        ON CONFLICT (user_id) DO UPDATE SET folded = excluded.folded, pending = excluded.pending;
END;
-- +goose StatementEnd
-- Statements by hand run without foreign keys unless they are turned on.
-- +goose StatementBegin
CREATE TRIGGER users_search_delete AFTER DELETE ON users
BEGIN
    DELETE FROM user_search WHERE user_id = OLD.id;
END;
-- +goose StatementEnd

-- Few users are disabled.
CREATE INDEX users_disabled_idx ON users (username) WHERE NOT active;
-- The list of users can be sorted by these times. Users who never signed in come last.
CREATE INDEX users_created_at_idx ON users (created_at, username);
CREATE INDEX users_last_sign_in_at_idx ON users (coalesce(last_sign_in_at, '0'), username);

-- +goose Down
DROP INDEX users_disabled_idx;
DROP INDEX users_created_at_idx;
DROP INDEX users_last_sign_in_at_idx;
DROP TRIGGER users_search_insert;
DROP TRIGGER users_search_update;
DROP TRIGGER users_search_delete;
DROP TABLE user_search;
CREATE INDEX users_search_idx ON users (username, lower(username || char(10) || name || char(10) || email), id);
