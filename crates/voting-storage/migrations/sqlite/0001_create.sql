-- The same schema as MySQL's; see there for what each table means.
CREATE TABLE ballots (
    id BLOB NOT NULL PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE tallies (
    choice TEXT NOT NULL,
    origin BLOB NOT NULL,
    votes INTEGER NOT NULL,
    reset_votes INTEGER NOT NULL,
    PRIMARY KEY (choice, origin)
) WITHOUT ROWID;

CREATE TABLE own_origin (
    id INTEGER NOT NULL PRIMARY KEY,
    origin BLOB NOT NULL
);
