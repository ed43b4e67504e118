-- One row a ballot that was counted. The id starts with its time (UUID version 7), so rows are appended, and old
-- ones can be deleted by a range of the key.
CREATE TABLE IF NOT EXISTS ballots (
    id BINARY(16) NOT NULL PRIMARY KEY
);

-- Grow-only counters, one row for each choice and store of origin: a choice has the sum of (votes - reset_votes).
-- Choices are bytes, so that no collation can merge two of them.
CREATE TABLE IF NOT EXISTS tallies (
    choice VARBINARY(400) NOT NULL,
    origin BINARY(16) NOT NULL,
    votes BIGINT NOT NULL,
    reset_votes BIGINT NOT NULL,
    PRIMARY KEY (choice, origin)
);

-- The one row that names this database's own origin.
CREATE TABLE IF NOT EXISTS own_origin (
    id TINYINT NOT NULL PRIMARY KEY,
    origin BINARY(16) NOT NULL
);
