-- Merges counters into the two choices, optionally resets them, and returns all counters.
-- KEYS: the counts of the choices, then the hashes of their counters
-- ARGV: the origin for this store if it has none yet, 'reset' or 'keep', then the choice (1 or 2), origin, votes and reset
--       votes of each counter to merge
-- Returns the choice, origin, votes and reset votes of each counter, including this store's own.
--
-- A hash holds the counters of other origins (fields <origin>:votes and <origin>:reset), this store's own origin (own) and
-- its own reset votes (own:reset). Its own votes are not stored twice: they are the count minus the contribution of the
-- other origins, so casting a vote touches the count alone.

local function read(count, hash)
  redis.call('INCRBY', count, 0)
  redis.call('HSETNX', hash, 'own', ARGV[1])
  local fields, list = {}, redis.call('HGETALL', hash)
  for i = 1, #list, 2 do
    fields[list[i]] = list[i + 1]
  end
  local counters, others = {}, 0
  for field, votes in pairs(fields) do
    local origin = string.match(field, '^(.+):votes$')
    if origin then
      counters[origin] = {tonumber(votes), tonumber(fields[origin .. ':reset'])}
      others = others + counters[origin][1] - counters[origin][2]
    end
  end
  local reset = tonumber(fields['own:reset'] or 0)
  local cast = math.max(tonumber(redis.call('GET', count)) - others, 0)
  counters[fields.own] = {cast + reset, reset}
  return counters, fields.own
end

local function write(count, hash, counters, own)
  local total = 0
  for origin, counter in pairs(counters) do
    total = total + counter[1] - counter[2]
    local votes, reset = string.format('%.0f', counter[1]), string.format('%.0f', counter[2])
    if origin == own then
      redis.call('HSET', hash, 'own:reset', reset)
    else
      redis.call('HSET', hash, origin .. ':votes', votes, origin .. ':reset', reset)
    end
  end
  redis.call('SET', count, string.format('%.0f', total))
end

local all, own = {}, {}
for choice = 1, 2 do
  all[choice], own[choice] = read(KEYS[choice], KEYS[choice + 2])
end
for i = 3, #ARGV, 4 do
  local counters, origin = all[tonumber(ARGV[i])], ARGV[i + 1]
  local counter = counters[origin] or {0, 0}
  counters[origin] = {math.max(counter[1], tonumber(ARGV[i + 2])), math.max(counter[2], tonumber(ARGV[i + 3]))}
end
local answer = {}
for choice = 1, 2 do
  for origin, counter in pairs(all[choice]) do
    if ARGV[2] == 'reset' then
      counter[2] = counter[1]
    end
    answer[#answer + 1] = tostring(choice)
    answer[#answer + 1] = origin
    answer[#answer + 1] = string.format('%.0f', counter[1])
    answer[#answer + 1] = string.format('%.0f', counter[2])
  end
  write(KEYS[choice], KEYS[choice + 2], all[choice], own[choice])
end
return answer
