-- +goose Up
-- The text that the user search matches: username, name and email, folded once per change instead of once
-- per search. Line feeds keep a search from matching across two of them. COLLATE "C" makes comparisons cheap;
-- lower() uses the database's own locale. The column is set by a trigger instead of GENERATED, so that rows can
-- be restored with INSERT INTO users SELECT * FROM a copy.
ALTER TABLE users ADD COLUMN search text COLLATE "C" NOT NULL DEFAULT '';

-- +goose StatementBegin
CREATE FUNCTION users_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := lower((NEW.username || E'\n' || NEW.name || E'\n' || NEW.email) COLLATE "default");
    RETURN NEW;
END
$$;
-- +goose StatementEnd

-- This changes no cached data, so it must not be announced.
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users SET search = lower((username || E'\n' || name || E'\n' || email) COLLATE "default");
ALTER TABLE users ENABLE TRIGGER USER;

CREATE TRIGGER users_search BEFORE INSERT OR UPDATE OF username, name, email, search ON users
    FOR EACH ROW EXECUTE FUNCTION users_search();

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
        EXECUTE format('CREATE INDEX users_search_idx ON users USING gin (search %I.gin_trgm_ops) WITH (fastupdate = off)', extension_schema);
    END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    RAISE NOTICE 'no index for the user search: %', SQLERRM;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- The extension stays: others may use it.
DROP INDEX IF EXISTS users_search_idx;
DROP TRIGGER users_search ON users;
DROP FUNCTION users_search();
ALTER TABLE users DROP COLUMN search;
