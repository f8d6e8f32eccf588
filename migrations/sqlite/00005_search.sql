-- +goose Up
-- The text that the user search matches: username, name and email, folded once per change instead of once
-- per search. Line feeds keep a search from matching across two of them. A search scans this index in the
-- order of the list and reads no rows of the table.
CREATE INDEX users_search_idx ON users (username, lower(username || char(10) || name || char(10) || email), id);

-- +goose Down
DROP INDEX users_search_idx;
