-- +goose Up
CREATE TABLE groups (
    name TEXT NOT NULL PRIMARY KEY CHECK (name GLOB '[a-z]*' AND name NOT GLOB '*[^a-z0-9_-]*' AND length(name) <= 64)
) STRICT;

CREATE TABLE group_permissions (
    group_name TEXT NOT NULL REFERENCES groups (name) ON UPDATE CASCADE ON DELETE CASCADE,
    permission TEXT NOT NULL CHECK (permission GLOB '[a-z]*.[a-z]*' AND permission NOT GLOB '*[^a-z0-9_.-]*'),
    PRIMARY KEY (group_name, permission)
) STRICT;

CREATE TABLE user_groups (
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_name TEXT NOT NULL REFERENCES groups (name) ON UPDATE CASCADE ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_name)
) STRICT;
CREATE INDEX user_groups_group_name_idx ON user_groups (group_name);

CREATE TABLE user_permissions (
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    permission TEXT NOT NULL CHECK (permission GLOB '[a-z]*.[a-z]*' AND permission NOT GLOB '*[^a-z0-9_.-]*'),
    PRIMARY KEY (user_id, permission)
) STRICT;

INSERT INTO groups (name) VALUES ('admin');
INSERT INTO group_permissions (group_name, permission) VALUES ('admin', 'users.view'), ('admin', 'users.manage');

-- Every change of cached user data is recorded here, whoever made it: SQLite has no NOTIFY.
-- Servers poll the file many times a second for new rows; * stands for all users. Only the
-- last thousand rows are kept.
CREATE TABLE user_changes (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id    TEXT NOT NULL,
    changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now'))
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER user_changes_prune AFTER INSERT ON user_changes WHEN NEW.seq % 100 = 0
BEGIN
    DELETE FROM user_changes WHERE seq < NEW.seq - 1000;
END;
-- +goose StatementEnd
-- The list of columns excludes last_sign_in_at, which no server caches.
-- +goose StatementBegin
CREATE TRIGGER users_tell_update
AFTER UPDATE OF id, username, name, email, email_verified, time_zone, password_hash, epoch, active ON users
BEGIN
    INSERT INTO user_changes (user_id) VALUES (OLD.id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_tell_delete AFTER DELETE ON users
BEGIN
    INSERT INTO user_changes (user_id) VALUES (OLD.id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_groups_tell_insert AFTER INSERT ON user_groups
BEGIN
    INSERT INTO user_changes (user_id) VALUES (NEW.user_id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_groups_tell_update AFTER UPDATE ON user_groups
BEGIN
    INSERT INTO user_changes (user_id) VALUES (OLD.user_id), (NEW.user_id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_groups_tell_delete AFTER DELETE ON user_groups
BEGIN
    INSERT INTO user_changes (user_id) VALUES (OLD.user_id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_permissions_tell_insert AFTER INSERT ON user_permissions
BEGIN
    INSERT INTO user_changes (user_id) VALUES (NEW.user_id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_permissions_tell_update AFTER UPDATE ON user_permissions
BEGIN
    INSERT INTO user_changes (user_id) VALUES (OLD.user_id), (NEW.user_id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER user_permissions_tell_delete AFTER DELETE ON user_permissions
BEGIN
    INSERT INTO user_changes (user_id) VALUES (OLD.user_id);
END;
-- +goose StatementEnd
-- A change of a group's permissions affects all its members, so it invalidates all users.
-- +goose StatementBegin
CREATE TRIGGER group_permissions_tell_insert AFTER INSERT ON group_permissions
BEGIN
    INSERT INTO user_changes (user_id) VALUES ('*');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER group_permissions_tell_update AFTER UPDATE ON group_permissions
BEGIN
    INSERT INTO user_changes (user_id) VALUES ('*');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER group_permissions_tell_delete AFTER DELETE ON group_permissions
BEGIN
    INSERT INTO user_changes (user_id) VALUES ('*');
END;
-- +goose StatementEnd

-- The sqlite3 shell does not enforce foreign keys by default: deleting a group there must
-- still take its permissions from its members.
-- +goose StatementBegin
CREATE TRIGGER groups_take_all_with_them AFTER DELETE ON groups
BEGIN
    DELETE FROM group_permissions WHERE group_name = OLD.name;
    DELETE FROM user_groups WHERE group_name = OLD.name;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER users_tell_update;
DROP TRIGGER users_tell_delete;
DROP TABLE user_changes;
DROP TABLE user_permissions;
DROP TABLE user_groups;
DROP TABLE group_permissions;
DROP TABLE groups;
