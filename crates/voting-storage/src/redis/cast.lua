-- Counts ballots: all of them or none.
-- KEYS: the counts of the two choices, then the sets of ballot ids
-- ARGV: the deadline (milliseconds of this server's clock), then for each set its expiry (seconds), the choices of its
--       ballots (one digit each, 1 or 2) and their ids
-- Returns the positions, in the order of the ids, of the ballots that were counted before.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  -- The caller has been told that the request failed, so it must have no effect.
  return redis.error_reply('LATE the request reached the store after its deadline')
end
for choice = 1, 2 do
  -- Fails before anything is written if the key does not hold a count.
  redis.call('INCRBY', KEYS[choice], 0)
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

local is_known, arg = {}, 2
for set = 3, #KEYS do
  local last = arg + 1 + #ARGV[arg + 1]
  is_known[set] = contains(KEYS[set], unpack(ARGV, arg + 2, last))
  arg = last + 1
end

-- Writes start here.
local already, votes, place = {}, {0, 0}, 0
arg = 2
for set = 3, #KEYS do
  local expires, choices, new = ARGV[arg], ARGV[arg + 1], {}
  for i = 1, #choices do
    if is_known[set][i] == 1 then
      already[#already + 1] = place + i
    else
      new[#new + 1] = ARGV[arg + 1 + i]
      local choice = string.byte(choices, i) - 48
      votes[choice] = votes[choice] + 1
    end
  end
  if #new > 0 then
    redis.call('SADD', KEYS[set], unpack(new))
    if redis.call('TTL', KEYS[set]) < 0 then
      redis.call('EXPIREAT', KEYS[set], expires)
    end
  end
  place = place + #choices
  arg = arg + 2 + #choices
end
for choice = 1, 2 do
  if votes[choice] > 0 then
    redis.call('INCRBY', KEYS[choice], votes[choice])
  end
end
return already
