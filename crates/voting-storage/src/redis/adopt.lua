-- Gives this store an origin of its own: a new store, and a copy that another server has taken over (a promoted replica, a
-- restored snapshot), whose votes so far belong to the origin that it was copied from.
-- KEYS: the counts of the choices, then the hashes of their counters
-- ARGV: the new origin, 'renew' to use it in any case, and the place in a sharded poll that the store is to keep, or ''
-- Returns the place that it keeps, or ''.
--
-- The field own:run has the run id of the server, which changes with each start and differs between servers; own:history the
-- id of its data's history, which changes when a replica is promoted, also one that was the primary before.

local function info(section, pattern)
  local answer = redis.pcall('INFO', section)
  return type(answer) == 'string' and string.match(answer, pattern) or ''
end
local now = {run = info('server', 'run_id:(%w+)'), history = info('replication', 'master_replid:(%w+)')}

for choice = 1, 2 do
  local count, hash = KEYS[choice], KEYS[choice + 2]
  local own, is_other = redis.call('HGET', hash, 'own'), ARGV[2] == 'renew'
  for name, id in pairs(now) do
    local own_id = redis.call('HGET', hash, 'own:' .. name)
    is_other = is_other or (own_id and id ~= '' and own_id ~= id)
  end
  if own and is_other then
    local total = redis.call('GET', count) or '0'
    if not string.match(total, '^-?%d+$') then
      return redis.error_reply('INVALID ' .. count .. ' does not hold a count')
    end
    local others, list = 0, redis.call('HGETALL', hash)
    for i = 1, #list, 2 do
      if string.match(list[i], '^.+:votes$') then
        others = others + tonumber(list[i + 1])
      elseif list[i] ~= 'own:reset' and string.match(list[i], '^.+:reset$') then
        others = others - tonumber(list[i + 1])
      end
    end
    local reset = tonumber(redis.call('HGET', hash, 'own:reset') or 0)
    local votes = math.max(math.min(tonumber(total), MAX_VOTES) - others, 0) + reset
    if votes > 0 then
      redis.call('HSET', hash, own .. ':votes', string.format('%.0f', votes), own .. ':reset', string.format('%.0f', reset))
    end
    redis.call('HDEL', hash, 'own:reset')
    own = false
  end
  if not own then
    redis.call('HSET', hash, 'own', ARGV[1])
  end
  for name, id in pairs(now) do
    if id ~= '' and redis.call('HGET', hash, 'own:' .. name) ~= id then
      redis.call('HSET', hash, 'own:' .. name, id)
    end
  end
end
local place = redis.call('HGET', KEYS[3], 'place')
if not place and ARGV[3] ~= '' then
  place = ARGV[3]
  redis.call('HSET', KEYS[3], 'place', place)
end
return place or ''
