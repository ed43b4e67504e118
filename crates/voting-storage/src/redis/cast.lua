-- Counts ballots: all of them or none. Or finds them, and writes nothing.
-- KEYS: the counts of the two choices, the index of the sets of ballot ids, the newest purged minute, then the sets
-- ARGV: 'cast' or 'find', the deadline (milliseconds of this server's clock), the percentage of maxmemory above which no
--       ballot is counted because the server may evict keys (0: it evicts none of ours), then for each set its minute, the
--       choices of its ballots (one digit each, 1 or 2) and their ids
-- Returns positions in the order of the ids, counted from one: those of ballots that were counted before, and as negative
-- numbers those that are as old as purged ids, so that nothing is known about them.

local action = ARGV[1]
local time = redis.call('TIME')
if action == 'cast' and time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[2]) then
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

local purged = tonumber(redis.call('GET', KEYS[4]) or -1)
local unchanged, new, votes, place, arg = {}, {}, {0, 0}, 0, 4
for set = 5, #KEYS do
  local choices = ARGV[arg + 1]
  local last = arg + 1 + #choices
  local is_purged = tonumber(ARGV[arg]) <= purged
  local is_known = contains(KEYS[set], unpack(ARGV, arg + 2, last))
  new[set] = {}
  for i = 1, #choices do
    if is_known[i] == 1 then
      unchanged[#unchanged + 1] = place + i
    elseif is_purged then
      unchanged[#unchanged + 1] = -(place + i)
    else
      new[set][#new[set] + 1] = ARGV[arg + 1 + i]
      local choice = string.byte(choices, i) - 48
      votes[choice] = votes[choice] + 1
    end
  end
  place = place + #choices
  arg = last + 1
end
if action == 'find' or votes[1] + votes[2] == 0 then
  return unchanged
end

-- What can be checked is checked before the first write: an id without its vote would never count.
local function info(section, field)
  return tonumber(string.match(redis.call('INFO', section), field .. ':(%d+)') or 0)
end
local percentage = tonumber(ARGV[3])
if percentage > 0 then
  local limit = info('memory', 'maxmemory')
  if info('stats', 'evicted_keys') > 0 or (limit > 0 and info('memory', 'used_memory') * 100 > limit * percentage) then
    return redis.error_reply('EVICTION maxmemory-policy lets Redis evict ballot ids, and its memory is almost full; allowed: noeviction or volatile-*')
  end
end
local counts = {}
for choice = 1, 2 do
  local count = redis.call('GET', KEYS[choice]) or '0'
  if not string.match(count, '^-?%d+$') then
    return redis.error_reply('INVALID ' .. KEYS[choice] .. ' does not hold a count')
  end
  counts[choice] = count
  if votes[choice] > 0 and tonumber(count) + votes[choice] > MAX_VOTES then
    return redis.error_reply('FULL ' .. KEYS[choice])
  end
end

-- The counts come first: a full server rejects them, but no later write of the script.
for choice = 1, 2 do
  if votes[choice] > 0 then
    -- Other clients may have left a count below zero, which reads as 0, or leading zeros, which Redis does not increment.
    local count = string.match(counts[choice], '^0*(%d+)$') or '0'
    local failed = count ~= counts[choice] and write('SET', KEYS[choice], count)
      or write('INCRBY', KEYS[choice], votes[choice])
    if failed then
      return failed
    end
    undo[#undo + 1] = {'INCRBY', KEYS[choice], -votes[choice]}
  end
end
arg = 4
for set = 5, #KEYS do
  if #new[set] > 0 then
    -- Releases before the index let the sets expire by the server's clock.
    local failed = write('PERSIST', KEYS[set]) or write('ZADD', KEYS[3], ARGV[arg], ARGV[arg])
    if failed then
      return failed
    end
  end
  arg = arg + 2 + #ARGV[arg + 1]
end
for set = 5, #KEYS do
  local failed = #new[set] > 0 and write('SADD', KEYS[set], unpack(new[set]))
  if failed then
    return failed
  end
end
return unchanged
