-- +goose Up
CREATE TABLE users (
    id              uuid        PRIMARY KEY,
    -- COLLATE "C": lists of users are paged by username, whose order must not depend on
    -- the locale or the version of the C library.
    username        text        COLLATE "C" NOT NULL,
    name            text        NOT NULL DEFAULT '',
    email           text        NOT NULL DEFAULT '',
    email_verified  boolean     NOT NULL DEFAULT false,
    time_zone       text        NOT NULL DEFAULT 'UTC',
    password_hash   text        NOT NULL,
    epoch           bigint      NOT NULL DEFAULT 1,
    active          boolean     NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    last_sign_in_at timestamptz,

    CONSTRAINT users_username_key   UNIQUE (username),
    CONSTRAINT users_username_check CHECK (char_length(username) BETWEEN 1 AND 255),
    CONSTRAINT users_email_check    CHECK (char_length(email) <= 320),
    CONSTRAINT users_verified_check CHECK (email <> '' OR NOT email_verified),
    CONSTRAINT users_epoch_check    CHECK (epoch >= 1)
);

-- Only verified addresses are unique: an unverified one must not prevent its owner
-- from registering.
CREATE UNIQUE INDEX users_email_verified_key ON users (email) WHERE email_verified;

-- Rules that also apply to rows changed by hand:
--
-- * The epoch never decreases, or ended sessions would be valid again.
-- * active -> false raises the epoch unless the statement does.
-- * A new password_hash raises the epoch if the statement sets neither epoch nor
--   updated_at. Gatehouse always sets updated_at, so that it can rehash the same
--   password without ending sessions. Statements by hand that set updated_at must
--   also set "epoch = epoch + 1".
-- * Every change except that of last_sign_in_at sets updated_at.
-- +goose StatementBegin
CREATE FUNCTION users_before_update() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER users_before_update BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION users_before_update();

-- +goose Down
DROP TABLE users;
DROP FUNCTION users_before_update();
