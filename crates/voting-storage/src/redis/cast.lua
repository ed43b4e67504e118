-- Counts ballots: all of them or none.
-- KEYS: the counts of the two choices, then the sets of ballot ids
-- ARGV: the deadline (milliseconds of this server's clock), then for each set its expiry (seconds), the choices of its
--       ballots (one digit each, 1 or 2) and their ids
-- Returns the positions, in the order of the ids, of the ballots that were counted before.

-- The largest count, as in counters.lua.
local MAX_VOTES = 9007199254740991

local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  -- The caller has been told that the request failed, so it must have no effect.
  return redis.error_reply('LATE the request reached the store after its deadline')
end

-- One command for all ids of a set: one command per id would dominate the cost.
local function contains(set, ...)
  local answer = redis.pcall('SMISMEMBER', set, ...)
  if answer.err then
    -- Redis before 6.2 lacks the command; any other error repeats here.
    for i, id in ipairs({...}) do
      answer[i] = redis.call('SISMEMBER', set, id)
    end
  end
  return answer
end

local already, new, votes, place, arg = {}, {}, {0, 0}, 0, 2
for set = 3, #KEYS do
  local choices = ARGV[arg + 1]
  local last = arg + 1 + #choices
  local is_known = contains(KEYS[set], unpack(ARGV, arg + 2, last))
  new[set] = {}
  for i = 1, #choices do
    if is_known[i] == 1 then
      already[#already + 1] = place + i
    else
      new[set][#new[set] + 1] = ARGV[arg + 1 + i]
      local choice = string.byte(choices, i) - 48
      votes[choice] = votes[choice] + 1
    end
  end
  place = place + #choices
  arg = last + 1
end

-- Everything that can fail is checked before the first write: an id without its vote would never count.
for choice = 1, 2 do
  local count = redis.call('GET', KEYS[choice]) or '0'
  if not string.match(count, '^-?%d+$') then
    return redis.error_reply('INVALID ' .. KEYS[choice] .. ' does not hold a count')
  end
  if votes[choice] > 0 and tonumber(count) + votes[choice] > MAX_VOTES then
    return redis.error_reply('TOOLARGE ' .. KEYS[choice] .. ' holds too large a count')
  end
end

for choice = 1, 2 do
  if votes[choice] > 0 then
    redis.call('INCRBY', KEYS[choice], votes[choice])
  end
end
arg = 2
for set = 3, #KEYS do
  if #new[set] > 0 then
    redis.call('SADD', KEYS[set], unpack(new[set]))
    if redis.call('TTL', KEYS[set]) < 0 then
      redis.call('EXPIREAT', KEYS[set], ARGV[arg])
    end
  end
  arg = arg + 2 + #ARGV[arg + 1]
end
return already
