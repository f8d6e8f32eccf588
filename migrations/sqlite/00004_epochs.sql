-- +goose Up
-- Epochs are compared for equality only, so a new one is random: one that counts up would
-- come back with the rows of a restored backup. Readers hold numbers below 2^53.
--
-- Gatehouse sets epoch = 1 + (epoch + epoch_offset) % (2^53 - 1) with a random epoch_offset from
-- 0 to 2^53 - 3, so that the old epoch never comes out and a trigger can tell its statements
-- from others.
ALTER TABLE users ADD COLUMN epoch_offset INTEGER NOT NULL DEFAULT -1;

-- What holds for rows changed by hand as well:
--
-- * active -> 0 sets a new epoch when the statement did not.
-- * A new password_hash sets a new epoch when the statement set neither epoch nor
--   updated_at. Gatehouse always sets updated_at, and replaces a hash of the same
--   password by one with newer parameters without ending anything.
-- * Any new epoch that Gatehouse did not set, as in "epoch = epoch + 1" or in a row restored
--   from a backup, is replaced by a random one.
-- * updated_at follows every change but that of last_sign_in_at.
DROP TRIGGER users_epoch_never_falls;
DROP TRIGGER users_epoch_rises;
-- +goose StatementBegin
CREATE TRIGGER users_epoch_changes AFTER UPDATE OF epoch, active, password_hash ON users
WHEN (NEW.epoch <> OLD.epoch AND NEW.epoch <> 1 + (OLD.epoch + NEW.epoch_offset) % 9007199254740991)
    OR (NEW.epoch = OLD.epoch AND (
        (OLD.active AND NOT NEW.active)
        OR (NEW.updated_at = OLD.updated_at AND NEW.password_hash <> OLD.password_hash)))
BEGIN
    UPDATE users SET epoch = 1 + (OLD.epoch + abs(random() % 9007199254740990)) % 9007199254740991,
        updated_at = strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- Gatehouse inserts new users with epoch 1. Any other inserted row comes from a backup: sessions
-- that ended since must not match its epoch.
-- +goose StatementBegin
CREATE TRIGGER users_restored AFTER INSERT ON users
WHEN NEW.epoch <> 1 OR julianday(NEW.updated_at) < julianday('now', '-1 hour')
BEGIN
    UPDATE users SET epoch = 1 + (NEW.epoch + abs(random() % 9007199254740990)) % 9007199254740991,
        updated_at = strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') WHERE id = NEW.id;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER users_restored;
DROP TRIGGER users_epoch_changes;
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
ALTER TABLE users DROP COLUMN epoch_offset;
