-- +goose Up
-- Epochs are only compared for equality, so a new one is random: a counter would repeat epochs
-- after a backup is restored. They stay below 2^53, which every reader's numbers can hold.
--
-- Gatehouse sets epoch = 1 + (epoch + epoch_offset) % (2^53 - 1) with a random epoch_offset from
-- 0 to 2^53 - 3, so that the result always differs from the old epoch and triggers can tell its
-- statements from others.
ALTER TABLE users ADD COLUMN epoch_offset bigint NOT NULL DEFAULT -1;

-- +goose StatementBegin
CREATE FUNCTION gatehouse_next_epoch(old_epoch bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT 1 + (old_epoch + floor(random() * 9007199254740990)::bigint) % 9007199254740991
$$;
-- +goose StatementEnd

-- Rules that also apply to rows changed by hand:
--
-- * active -> false sets a new epoch unless the statement does.
-- * A new password_hash sets a new epoch if the statement sets neither epoch nor
--   updated_at. Gatehouse always sets updated_at, so that it can rehash the same
--   password without ending sessions.
-- * Any new epoch that Gatehouse did not set, such as "epoch = epoch + 1" or that of a row
--   restored from a backup, is replaced by a random one.
-- * Every change except that of last_sign_in_at sets updated_at.
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

-- Gatehouse inserts new users with epoch 1. Any other inserted row comes from a backup, whose epoch
-- must not make ended sessions valid again.
-- +goose StatementBegin
CREATE FUNCTION users_before_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch <> 1 OR NEW.updated_at < clock_timestamp() - interval '1 hour' THEN
        NEW.epoch := gatehouse_next_epoch(NEW.epoch);
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER users_before_insert BEFORE INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION users_before_insert();

-- +goose Down
DROP TRIGGER users_before_insert ON users;
DROP FUNCTION users_before_insert();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_before_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    by_hand boolean := NEW.updated_at = OLD.updated_at;
BEGIN
    IF NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'the epoch of a user never falls'
            USING ERRCODE = 'check_violation', TABLE = 'users', CONSTRAINT = 'users_epoch_never_falls';
    END IF;
    IF NEW.epoch = OLD.epoch AND (
        (OLD.active AND NOT NEW.active) OR (by_hand AND NEW.password_hash <> OLD.password_hash)
    ) THEN
        NEW.epoch := OLD.epoch + 1;
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
DROP FUNCTION gatehouse_next_epoch(bigint);
ALTER TABLE users DROP COLUMN epoch_offset;
