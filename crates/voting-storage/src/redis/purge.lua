-- Deletes sets of ballot ids. Ballots as old as these are not counted any more.
-- KEYS: the index of the sets, the newest purged minute, then the sets
-- ARGV: the minute of each set
for i = 3, #KEYS do
  local minute = ARGV[i - 2]
  -- First, because a full server accepts only this write; it does not stop a script after its first one.
  redis.call('ZREM', KEYS[1], minute)
  if tonumber(minute) > tonumber(redis.call('GET', KEYS[2]) or -1) then
    redis.call('SET', KEYS[2], minute)
  end
  redis.call('UNLINK', KEYS[i])
end
