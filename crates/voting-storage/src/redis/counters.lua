-- Merges counters into the two choices, optionally resets them, and returns all counters.
-- KEYS: the counts of the choices, then the hashes of their counters
-- ARGV: the deadline (milliseconds of this server's clock), 'read', 'merge' or 'reset', then the choice (1 or 2), origin, votes
--       and reset votes of each counter to merge
-- Returns the choice, origin, votes and reset votes of each counter, including this store's own.
--
-- A hash holds the counters of other origins (fields <origin>:votes and <origin>:reset), this store's own origin (own) and
-- its own reset votes (own:reset). Its own votes are not stored twice: they are the count minus the contribution of the
-- other origins, so casting a vote touches the count alone. 'read' writes nothing, so it works on a full or read-only
-- server.

local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[1]) then
  -- The caller has been told that the request failed, so it must have no effect.
  return redis.error_reply('LATE the request reached the store after its deadline')
end
local action = ARGV[2]

-- Whether a command failed for another reason than the type of the key, such as a missing permission.
local function is_refused(answer)
  return type(answer) == 'table' and answer.err and not string.find(answer.err, 'WRONGTYPE', 1, true)
end

local function read(count, hash)
  -- A reset always works, whatever the keys hold.
  local total = redis.pcall('GET', count) or '0'
  if is_refused(total) then
    return total
  end
  if type(total) == 'table' or not string.match(total, '^-?%d+$') then
    if action == 'reset' then
      total = '0'
    else
      return redis.error_reply('INVALID ' .. count .. ' does not hold a count')
    end
  end
  local fields, list = {}, redis.pcall('HGETALL', hash)
  if is_refused(list) then
    return list
  end
  if list.err then
    if action == 'reset' then
      -- The votes have lost their origin.
      redis.call('UNLINK', hash)
      total, list = '0', {}
    else
      return redis.error_reply('INVALID ' .. hash .. ' does not hold counters')
    end
  end
  for i = 1, #list, 2 do
    fields[list[i]] = list[i + 1]
  end
  local counters, others = {}, 0
  for field, votes in pairs(fields) do
    local origin = string.match(field, '^(.+):votes$')
    if origin then
      local cast, reset = tonumber(votes), tonumber(fields[origin .. ':reset'])
      if cast and reset and #origin == 36 then
        counters[origin] = {cast, reset}
        others = others + cast - reset
      elseif action == 'reset' then
        redis.call('HDEL', hash, field, origin .. ':reset')
      else
        return redis.error_reply('INVALID ' .. hash .. ' does not hold counters')
      end
    end
  end
  local reset = tonumber(fields['own:reset'] or 0) or 0
  local cast = math.max(math.min(tonumber(total), MAX_VOTES) - others, 0)
  if fields.own and cast + reset > 0 then
    counters[fields.own] = {cast + reset, reset}
  elseif cast + reset > 0 then
    return redis.error_reply('NOORIGIN ' .. hash .. ' has no origin yet, and the server does not accept writes')
  end
  return {counters = counters, own = fields.own}
end

-- The counts are written first: one that was is known to be writable, so it can be written back.
local function write_count(count, choice)
  local total = 0
  for _, counter in pairs(choice.counters) do
    total = total + counter[1] - counter[2]
  end
  local before = redis.pcall('GET', count) or '0'
  if is_refused(before) then
    return before
  end
  local failed = write('SET', count, string.format('%.0f', total))
  if not failed and type(before) == 'string' then
    undo[#undo + 1] = {'SET', count, before}
  end
  return failed
end

local function write_counters(hash, choice)
  for origin, counter in pairs(choice.counters) do
    local votes, reset = string.format('%.0f', counter[1]), string.format('%.0f', counter[2])
    local failed
    if origin == choice.own then
      failed = write('HSET', hash, 'own:reset', reset)
    else
      failed = write('HSET', hash, origin .. ':votes', votes, origin .. ':reset', reset)
    end
    if failed then
      return failed
    end
  end
end

local all = {}
for choice = 1, 2 do
  all[choice] = read(KEYS[choice], KEYS[choice + 2])
  if all[choice].err then
    return all[choice]
  end
end
for i = 3, #ARGV, 4 do
  local counters, origin = all[tonumber(ARGV[i])].counters, ARGV[i + 1]
  local counter = counters[origin] or {0, 0}
  counters[origin] = {math.max(counter[1], tonumber(ARGV[i + 2])), math.max(counter[2], tonumber(ARGV[i + 3]))}
end
local answer = {}
for choice = 1, 2 do
  local total = 0
  for origin, counter in pairs(all[choice].counters) do
    if action == 'reset' then
      counter[2] = counter[1]
    end
    total = total + counter[1] - counter[2]
    if counter[1] > MAX_VOTES and action == 'merge' then
      return redis.error_reply('TOOLARGE a counter has more than ' .. string.format('%.0f', MAX_VOTES) .. ' votes')
    end
    answer[#answer + 1] = tostring(choice)
    answer[#answer + 1] = origin
    answer[#answer + 1] = string.format('%.0f', counter[1])
    answer[#answer + 1] = string.format('%.0f', counter[2])
  end
  if total > MAX_VOTES and action == 'merge' then
    return redis.error_reply('TOOLARGE the counters add up to more than ' .. string.format('%.0f', MAX_VOTES) .. ' votes')
  end
end
if action ~= 'read' then
  local failed = write_count(KEYS[1], all[1]) or write_count(KEYS[2], all[2])
    or write_counters(KEYS[3], all[1]) or write_counters(KEYS[4], all[2])
  if failed then
    return failed
  end
end
return answer
