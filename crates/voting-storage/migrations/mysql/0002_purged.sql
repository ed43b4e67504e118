-- The one row that holds the newest ballot id that was purged. A ballot with this id or an older one is not counted any more.
CREATE TABLE IF NOT EXISTS purged (
    id TINYINT NOT NULL PRIMARY KEY,
    up_to BINARY(16) NOT NULL
);

INSERT IGNORE INTO purged (id, up_to) VALUES (1, x'00000000000000000000000000000000');
