-- The same schema as MySQL's; see there for what the table means.
CREATE TABLE purged (
    id INTEGER NOT NULL PRIMARY KEY,
    up_to BLOB NOT NULL
);

INSERT INTO purged (id, up_to) VALUES (1, x'00000000000000000000000000000000');
