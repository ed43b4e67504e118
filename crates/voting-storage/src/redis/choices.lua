-- Finds choices that have taken votes, among a part of all keys: those with counters. Each one has the hash of its counters,
-- since its first vote or the first transfer.
-- KEYS: any key of the poll, which selects the server of a cluster
-- ARGV: the cursor, the pattern of the keys of counters
-- Returns the next cursor, then the keys.
local answer = redis.pcall('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 1000)
if answer.err then
  return redis.error_reply('NOPERM no permissions for scan: ' .. answer.err)
end
table.insert(answer[2], 1, answer[1])
return answer[2]
