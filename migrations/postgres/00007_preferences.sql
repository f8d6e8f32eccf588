-- +goose Up
-- How pages look to the user and write times; '' leaves it to the device or the default.
ALTER TABLE users
    ADD COLUMN theme      text NOT NULL DEFAULT '' CONSTRAINT users_theme_check CHECK (theme IN ('', 'light', 'dark')),
    ADD COLUMN hour_cycle text NOT NULL DEFAULT '' CONSTRAINT users_hour_cycle_check CHECK (hour_cycle IN ('', 'h12', 'h23')),
    ADD COLUMN locale     text NOT NULL DEFAULT '' CONSTRAINT users_locale_check CHECK (char_length(locale) <= 35);

-- Whether the user chose the time zone UTC. If not, the next sign-in replaces it with the browser's zone. A row that was
-- never changed still has the zone that it was created with, which nobody chose. Any other row may hold a choice, so it
-- keeps its zone. This changes no cached data, so it must not be announced.
ALTER TABLE users ADD COLUMN time_zone_chosen boolean NOT NULL DEFAULT false;
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users SET time_zone_chosen = true WHERE time_zone = 'UTC' AND updated_at <> created_at;
ALTER TABLE users ENABLE TRIGGER USER;

-- As before, with the new columns: a change by hand sets updated_at.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_before_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    by_hand boolean := NEW.updated_at = OLD.updated_at;
BEGIN
    IF (NEW.epoch <> OLD.epoch AND NEW.epoch <> 1 + (OLD.epoch + NEW.epoch_offset) % 9007199254740991)
        OR (NEW.epoch = OLD.epoch AND (
            (OLD.active AND NOT NEW.active) OR (by_hand AND NEW.password_hash <> OLD.password_hash)))
    THEN
        NEW.epoch := gatehouse_next_epoch(OLD.epoch);
        NEW.updated_at := clock_timestamp();
    END IF;
    IF by_hand AND (
        (NEW.username, NEW.name, NEW.email, NEW.email_verified, NEW.time_zone, NEW.password_hash, NEW.epoch, NEW.active,
            NEW.theme, NEW.hour_cycle, NEW.locale)
        IS DISTINCT FROM
        (OLD.username, OLD.name, OLD.email, OLD.email_verified, OLD.time_zone, OLD.password_hash, OLD.epoch, OLD.active,
            OLD.theme, OLD.hour_cycle, OLD.locale)
    ) THEN
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_before_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    by_hand boolean := NEW.updated_at = OLD.updated_at;
BEGIN
    IF (NEW.epoch <> OLD.epoch AND NEW.epoch <> 1 + (OLD.epoch + NEW.epoch_offset) % 9007199254740991)
        OR (NEW.epoch = OLD.epoch AND (
            (OLD.active AND NOT NEW.active) OR (by_hand AND NEW.password_hash <> OLD.password_hash)))
    THEN
        NEW.epoch := gatehouse_next_epoch(OLD.epoch);
        NEW.updated_at := clock_timestamp();
    END IF;
    IF by_hand AND (
        (NEW.username, NEW.name, NEW.email, NEW.email_verified, NEW.time_zone, NEW.password_hash, NEW.epoch, NEW.active)
        IS DISTINCT FROM
        (OLD.username, OLD.name, OLD.email, OLD.email_verified, OLD.time_zone, OLD.password_hash, OLD.epoch, OLD.active)
    ) THEN
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
ALTER TABLE users DROP COLUMN theme, DROP COLUMN hour_cycle, DROP COLUMN locale, DROP COLUMN time_zone_chosen;
