-- Counts ballots; all of them or none.
-- KEYS: the count of each of the two choices, then the sets of ballot ids that are needed
-- ARGV: the latest time at which this may run (milliseconds of this server's clock), when each of the sets expires
--       (seconds), then for each ballot the place of its set in KEYS, the place of its choice in KEYS, its id
-- Gives 1 for each ballot that was counted, 0 for each that had been before.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  -- Whoever asked has been told that it failed, so it must not happen now.
  return redis.error_reply('LATE the request reached the store after its deadline')
end
local votes = {0, 0}
for choice = 1, 2 do
  -- Fails before anything is written if the key holds something other than a count.
  redis.call('INCRBY', KEYS[choice], 0)
end
local counted = {}
for i = #KEYS, #ARGV, 3 do
  local set, choice, id = KEYS[tonumber(ARGV[i])], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local new = redis.call('SADD', set, id)
  votes[choice] = votes[choice] + new
  counted[#counted + 1] = new
end
for choice = 1, 2 do
  if votes[choice] > 0 then
    redis.call('INCRBY', KEYS[choice], votes[choice])
  end
end
for set = 3, #KEYS do
  redis.call('EXPIREAT', KEYS[set], ARGV[set - 1])
end
return counted
