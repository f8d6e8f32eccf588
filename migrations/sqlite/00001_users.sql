-- +goose Up
-- Times are UTC text such as 2026-01-31 12:00:00.123456+00:00; booleans are 0 and 1.
CREATE TABLE users (
    id              TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    username        TEXT    NOT NULL UNIQUE CHECK (length(username) BETWEEN 1 AND 255),
    name            TEXT    NOT NULL DEFAULT '',
    email           TEXT    NOT NULL DEFAULT '' CHECK (length(email) <= 320),
    email_verified  INTEGER NOT NULL DEFAULT 0 CHECK (email_verified IN (0, 1)),
    time_zone       TEXT    NOT NULL DEFAULT 'UTC',
    password_hash   TEXT    NOT NULL,
    epoch           INTEGER NOT NULL DEFAULT 1 CHECK (epoch >= 1),
    active          INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    created_at      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now'))
                            CHECK (created_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][ T]*'),
    updated_at      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now'))
                            CHECK (updated_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][ T]*'),
    last_sign_in_at TEXT    CHECK (last_sign_in_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][ T]*'),

    CHECK (email <> '' OR NOT email_verified)
) STRICT;

-- Only verified addresses are unique: an unverified one must not prevent its owner
-- from registering.
CREATE UNIQUE INDEX users_email_verified_key ON users (email) WHERE email_verified;

-- Rules that also apply to rows changed by hand:
--
-- * The epoch never decreases, or ended sessions would be valid again.
-- * active -> 0 raises the epoch unless the statement does.
-- * A new password_hash raises the epoch if the statement sets neither epoch nor
--   updated_at. Gatehouse always sets updated_at, so that it can rehash the same
--   password without ending sessions. Statements by hand that set updated_at must
--   also set "epoch = epoch + 1".
-- * Every change except that of last_sign_in_at sets updated_at.
--
-- RETURNING does not return what these triggers write; Gatehouse's own statements do
-- not depend on them.
-- +goose StatementBegin
CREATE TRIGGER users_epoch_never_falls BEFORE UPDATE OF epoch ON users
WHEN NEW.epoch < OLD.epoch
BEGIN
    SELECT RAISE(ABORT, 'the epoch of a user never falls');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_epoch_rises AFTER UPDATE OF active, password_hash ON users
WHEN NEW.epoch = OLD.epoch AND (
    (OLD.active AND NOT NEW.active)
    OR (NEW.updated_at = OLD.updated_at AND NEW.password_hash <> OLD.password_hash)
)
BEGIN
    UPDATE users SET epoch = epoch + 1 WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_updated_at AFTER UPDATE ON users
WHEN NEW.updated_at = OLD.updated_at AND (
    (NEW.username, NEW.name, NEW.email, NEW.email_verified, NEW.time_zone, NEW.password_hash, NEW.epoch, NEW.active)
    IS NOT
    (OLD.username, OLD.name, OLD.email, OLD.email_verified, OLD.time_zone, OLD.password_hash, OLD.epoch, OLD.active)
)
BEGIN
    UPDATE users SET updated_at = strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') WHERE id = NEW.id;
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE users;
