-- Gives this store an origin of its own: a new store, and a copy that another server has taken over (a promoted replica, a
-- restored snapshot), whose votes so far belong to the origin that it was copied from.
-- KEYS: the counts of the choices, then the hashes of their counters
-- ARGV: the new origin, and 'renew' to use it in any case
-- The field own:run has the run id of the server, which changes with each start and differs between servers.

local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''

for choice = 1, 2 do
  local count, hash = KEYS[choice], KEYS[choice + 2]
  local own, own_run = redis.call('HGET', hash, 'own'), redis.call('HGET', hash, 'own:run')
  if own and (ARGV[2] == 'renew' or (own_run and run ~= '' and own_run ~= run)) then
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
  if run ~= '' and own_run ~= run then
    redis.call('HSET', hash, 'own:run', run)
  end
end
return redis.status_reply('OK')
