-- +goose Up
-- How pages look to the user and write times; '' leaves it to the device or the default.
ALTER TABLE users ADD COLUMN theme TEXT NOT NULL DEFAULT '' CHECK (theme IN ('', 'light', 'dark'));
ALTER TABLE users ADD COLUMN hour_cycle TEXT NOT NULL DEFAULT '' CHECK (hour_cycle IN ('', 'h12', 'h23'));
ALTER TABLE users ADD COLUMN locale TEXT NOT NULL DEFAULT '' CHECK (length(locale) <= 35);

-- Whether the user chose the time zone UTC. If not, the next sign-in replaces it with the browser's zone. A row that was
-- never changed still has the zone that it was created with, which nobody chose. Any other row may hold a choice, so it
-- keeps its zone.
ALTER TABLE users ADD COLUMN time_zone_chosen INTEGER NOT NULL DEFAULT 0 CHECK (time_zone_chosen IN (0, 1));
UPDATE users SET time_zone_chosen = 1 WHERE time_zone = 'UTC' AND updated_at <> created_at;

DROP TRIGGER users_updated_at;
-- +goose StatementBegin
CREATE TRIGGER users_updated_at AFTER UPDATE ON users
WHEN NEW.updated_at = OLD.updated_at AND (
    (NEW.username, NEW.name, NEW.email, NEW.email_verified, NEW.time_zone, NEW.password_hash, NEW.epoch, NEW.active,
        NEW.theme, NEW.hour_cycle, NEW.locale)
    IS NOT
    (OLD.username, OLD.name, OLD.email, OLD.email_verified, OLD.time_zone, OLD.password_hash, OLD.epoch, OLD.active,
        OLD.theme, OLD.hour_cycle, OLD.locale)
)
BEGIN
    UPDATE users SET updated_at = strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') WHERE id = NEW.id;
END;
-- +goose StatementEnd
DROP TRIGGER users_tell_update;
-- The list of columns excludes those that no server caches, such as last_sign_in_at.
-- +goose StatementBegin
CREATE TRIGGER users_tell_update
AFTER UPDATE OF id, username, name, email, email_verified, time_zone, password_hash, epoch, active, theme, hour_cycle, locale ON users
BEGIN
    INSERT INTO user_changes (user_id) VALUES (OLD.id);
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER users_updated_at;
DROP TRIGGER users_tell_update;
ALTER TABLE users DROP COLUMN theme;
ALTER TABLE users DROP COLUMN hour_cycle;
ALTER TABLE users DROP COLUMN locale;
ALTER TABLE users DROP COLUMN time_zone_chosen;
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
-- +goose StatementBegin
CREATE TRIGGER users_tell_update
AFTER UPDATE OF id, username, name, email, email_verified, time_zone, password_hash, epoch, active ON users
BEGIN
    INSERT INTO user_changes (user_id) VALUES (OLD.id);
END;
-- +goose StatementEnd
