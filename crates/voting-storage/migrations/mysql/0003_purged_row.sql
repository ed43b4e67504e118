-- Copies the newest purged ballot id into a row of `tallies`, without a choice: its votes are the milliseconds since the Unix
-- epoch at which that ballot was created. Every batch writes `tallies` anyway, so a look into a second table is saved. The
-- table `purged` stays, unused: the services need no privilege to drop tables.
INSERT INTO tallies (choice, origin, votes, reset_votes)
SELECT x'', x'00000000000000000000000000000000', CAST(CONV(HEX(LEFT(up_to, 6)), 16, 10) AS SIGNED), 0 FROM purged
ON DUPLICATE KEY UPDATE votes = GREATEST(tallies.votes, VALUES(votes));
