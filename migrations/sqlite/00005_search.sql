-- +goose Up
-- What the user search looks at: name, display name and address in one text, folded once per change
-- instead of once per search. The line feeds keep a search from matching across two of them. A search
-- reads the index from one end to the other, in the order of the list, and no rows of the table.
CREATE INDEX users_search_idx ON users (username, lower(username || char(10) || name || char(10) || email), id);

-- +goose Down
DROP INDEX users_search_idx;
