-- +goose Up
-- Epochs are only compared for equality, so a new one is random: a counter would repeat epochs
-- after a backup is restored. They stay below 2^53, which every reader's numbers can hold.
--
-- Gatehouse sets epoch = 1 + (epoch + epoch_offset) % (2^53 - 1) with a random epoch_offset from
-- 0 to 2^53 - 3, so that the result always differs from the old epoch and triggers can tell its
-- statements from others.
ALTER TABLE users ADD COLUMN epoch_offset INTEGER NOT NULL DEFAULT -1;

-- Rules that also apply to rows changed by hand:
--
-- * active -> 0 sets a new epoch unless the statement does.
-- * A new password_hash sets a new epoch if the statement sets neither epoch nor
--   updated_at. Gatehouse always sets updated_at, so that it can rehash the same
--   password without ending sessions.
-- * Any new epoch that Gatehouse did not set, such as "epoch = epoch + 1" or that of a row
--   restored from a backup, is replaced by a random one.
-- * Every change except that of last_sign_in_at sets updated_at.
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
-- Gatehouse inserts new users with epoch 1. Any other inserted row comes from a backup, whose epoch
-- must not make ended sessions valid again.
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
