-- Runs every command that the poll needs in a script or alone, and leaves no trace but a count of zero. The commands that the
-- user may not run are named together: before its release 7.2, Redis names none of them.
-- KEYS: the counts of the two choices, then a key of no other use
local key = KEYS[3]
local denied, failure = {}, nil

local function try(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then
    return answer
  end
  local err = answer.err
  if string.find(err, "can't run", 1, true) or string.find(err, 'NOPERM', 1, true)
    or string.find(err, "can't access", 1, true) or string.find(err, 'ACL failure', 1, true) then
    local is_key = string.find(err, 'access', 1, true)
    local name = string.lower((...)) .. (is_key and ' on the key ' .. select(2, ...) or '')
    if name ~= denied[#denied] then
      denied[#denied + 1] = name
    end
  elseif not failure and not string.find(err, 'Unknown Redis command', 1, true) then
    failure = answer
  end
end

-- First, because a full server rejects the first write of a script, but no later one.
for choice = 1, 2 do
  try('INCRBY', KEYS[choice], 0)
end
for _, command in ipairs({
  {'GET', KEYS[1]}, {'GET', KEYS[2]}, {'MGET', KEYS[1], KEYS[2]}, {'EXISTS', KEYS[1]}, {'TIME'},
  {'HGET', key, 'probe'}, {'HGETALL', key}, {'HDEL', key, 'probe'},
  {'SISMEMBER', key, 'probe'}, {'SMISMEMBER', key, 'probe'}, {'PERSIST', key},
  {'ZRANGE', key, 0, 0}, {'ZRANGEBYSCORE', key, 0, 0}, {'ZREM', key, 'probe'},
}) do
  try(unpack(command))
end
-- Nothing is written that could not be deleted.
if try('UNLINK', key) then
  for _, command in ipairs({
    {'SADD', key, 'probe'}, {'ZADD', key, 0, 'probe'}, {'HSET', key, 'probe', 0}, {'SET', key, 0},
  }) do
    try(unpack(command))
    redis.pcall('UNLINK', key)
  end
end
if #denied > 0 then
  return redis.error_reply('NOPERM no permissions for ' .. table.concat(denied, ', '))
end
if failure then
  return failure
end
for choice = 1, 2 do
  if (tonumber(redis.call('GET', KEYS[choice]) or 0) or 0) >= MAX_VOTES then
    return redis.error_reply('FULL ' .. KEYS[choice])
  end
end
return redis.status_reply('OK')
