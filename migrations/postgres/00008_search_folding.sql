-- +goose Up
-- The text that the user search matches: username, name and email without case and accents, folded once per change instead
-- of once per search. Line feeds keep a search from matching across two of them. The trigger folds ASCII; Gatehouse folds
-- rows with other characters, which are pending until then, as after an INSERT or UPDATE by hand.
CREATE TABLE user_search (
    user_id uuid PRIMARY KEY REFERENCES users (id) ON UPDATE CASCADE ON DELETE CASCADE,
    folded  text COLLATE "C" NOT NULL,
    pending boolean NOT NULL
);

-- Users can be read but not changed while their texts are copied. The locks below that exclude readers are short.
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO user_search (user_id, folded, pending)
    SELECT id, lower(t COLLATE "C"), octet_length(t) <> char_length(t)
    FROM (SELECT id, username || E'\n' || name || E'\n' || email AS t FROM users) AS texts;
CREATE INDEX user_search_pending_idx ON user_search (user_id) WHERE pending;

-- fastupdate is off because searches would scan the pending rows after an import. The index needs the
-- extension pg_trgm, which may not be installed, or which the role may not be allowed to create. Without it, a
-- search reads every row. To add the index later, see docs/operation.md.
-- +goose StatementBegin
DO $$
DECLARE
    extension_schema text;
BEGIN
    BEGIN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
    EXCEPTION WHEN OTHERS THEN
        RAISE NOTICE 'pg_trgm is not available: %', SQLERRM;
    END;
    SELECT nspname INTO extension_schema
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm';
    IF extension_schema IS NOT NULL THEN
        EXECUTE format('CREATE INDEX user_search_folded_idx ON user_search USING gin (folded %I.gin_trgm_ops) WITH (fastupdate = off)', extension_schema);
    END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    RAISE NOTICE 'no index for the user search: %', SQLERRM;
END
$$;
-- +goose StatementEnd

-- Few users are disabled.
CREATE INDEX users_disabled_idx ON users (username) WHERE NOT active;
-- The list of users can be sorted by these times. Users who never signed in come last.
CREATE INDEX users_created_at_idx ON users (created_at, username);
CREATE INDEX users_last_sign_in_at_idx ON users ((coalesce(last_sign_in_at, to_timestamp(0))), username);

DROP TRIGGER users_search ON users;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_search() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    text_to_fold text := NEW.username || E'\n' || NEW.name || E'\n' || NEW.email;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.username, NEW.name, NEW.email) = (OLD.username, OLD.name, OLD.email) THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO user_search (user_id, folded, pending)
        VALUES (NEW.id, lower(text_to_fold COLLATE "C"), octet_length(text_to_fold) <> char_length(text_to_fold))
        ON CONFLICT (user_id) DO UPDATE SET folded = excluded.folded, pending = excluded.pending;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER users_search AFTER INSERT OR UPDATE OF username, name, email ON users
    FOR EACH ROW EXECUTE FUNCTION users_search();

DROP INDEX IF EXISTS users_search_idx;
ALTER TABLE users DROP COLUMN search;

-- +goose Down
DROP INDEX users_disabled_idx;
DROP INDEX users_created_at_idx;
DROP INDEX users_last_sign_in_at_idx;
DROP TRIGGER users_search ON users;
DROP TABLE user_search;
ALTER TABLE users ADD COLUMN search text COLLATE "C" NOT NULL DEFAULT '';
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := lower((NEW.username || E'\n' || NEW.name || E'\n' || NEW.email) COLLATE "default");
    RETURN NEW;
END
$$;
-- +goose StatementEnd
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users SET search = lower((username || E'\n' || name || E'\n' || email) COLLATE "default");
ALTER TABLE users ENABLE TRIGGER USER;
CREATE TRIGGER users_search BEFORE INSERT OR UPDATE OF username, name, email, search ON users
    FOR EACH ROW EXECUTE FUNCTION users_search();
