-- +goose Up
CREATE TABLE groups (
    name text COLLATE "C" PRIMARY KEY,
    CONSTRAINT groups_name_check CHECK (name ~ '^[a-z][a-z0-9_-]{0,63}$')
);

CREATE TABLE group_permissions (
    group_name text COLLATE "C" NOT NULL REFERENCES groups (name) ON UPDATE CASCADE ON DELETE CASCADE,
    permission text COLLATE "C" NOT NULL,
    PRIMARY KEY (group_name, permission),
    CONSTRAINT group_permissions_check CHECK (permission ~ '^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+$')
);

CREATE TABLE user_groups (
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_name text COLLATE "C" NOT NULL REFERENCES groups (name) ON UPDATE CASCADE ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_name)
);
CREATE INDEX user_groups_group_name_idx ON user_groups (group_name);

CREATE TABLE user_permissions (
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    permission text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, permission),
    CONSTRAINT user_permissions_check CHECK (permission ~ '^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+$')
);

INSERT INTO groups (name) VALUES ('admin');
INSERT INTO group_permissions (group_name, permission) VALUES ('admin', 'users.view'), ('admin', 'users.manage');

-- Every committed change of cached user data is announced to the servers, whoever made it:
-- the channel is gatehouse_users, the payload the user's id, or * for all users, and the
-- time of the change (Unix microseconds).
-- +goose StatementBegin
CREATE FUNCTION gatehouse_tell(who text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify('gatehouse_users', who || ' ' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION users_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- A sign-in is noted in the row, and is nothing that anybody keeps.
        IF to_jsonb(NEW) - 'last_sign_in_at' = to_jsonb(OLD) - 'last_sign_in_at' THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM gatehouse_tell(OLD.id::text);
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER users_tell AFTER UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION users_tell();

-- +goose StatementBegin
CREATE FUNCTION grants_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM gatehouse_tell(OLD.user_id::text); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM gatehouse_tell(NEW.user_id::text); END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER user_groups_tell AFTER INSERT OR UPDATE OR DELETE ON user_groups
    FOR EACH ROW EXECUTE FUNCTION grants_tell();
CREATE TRIGGER user_permissions_tell AFTER INSERT OR UPDATE OR DELETE ON user_permissions
    FOR EACH ROW EXECUTE FUNCTION grants_tell();

-- A change of a group's permissions affects all its members, so it invalidates all users.
-- +goose StatementBegin
CREATE FUNCTION everybody_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gatehouse_tell('*');
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER group_permissions_tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON group_permissions
    FOR EACH STATEMENT EXECUTE FUNCTION everybody_tell();
CREATE TRIGGER users_truncate_tell AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION everybody_tell();
CREATE TRIGGER user_groups_truncate_tell AFTER TRUNCATE ON user_groups
    FOR EACH STATEMENT EXECUTE FUNCTION everybody_tell();
CREATE TRIGGER user_permissions_truncate_tell AFTER TRUNCATE ON user_permissions
    FOR EACH STATEMENT EXECUTE FUNCTION everybody_tell();

-- +goose Down
DROP TABLE user_permissions;
DROP TABLE user_groups;
DROP TABLE group_permissions;
DROP TABLE groups;
DROP TRIGGER users_tell ON users;
DROP TRIGGER users_truncate_tell ON users;
DROP FUNCTION users_tell();
DROP FUNCTION grants_tell();
DROP FUNCTION everybody_tell();
DROP FUNCTION gatehouse_tell(text);
