-- Runs the commands that counting a ballot needs, and leaves no trace but a count of zero.
-- KEYS: the counts of the two choices, then a key of no other use
local key = KEYS[3]

for choice = 1, 2 do
  if (tonumber(redis.call('GET', KEYS[choice]) or 0) or 0) >= MAX_VOTES then
    return redis.error_reply('FULL ' .. KEYS[choice])
  end
end
local commands = {
  {'INCRBY', KEYS[1], 0}, {'INCRBY', KEYS[2], 0},
  {'SADD', key, 'probe'}, {'PERSIST', key}, {'UNLINK', key},
  {'ZADD', key, 0, 'probe'}, {'UNLINK', key},
}
for _, command in ipairs(commands) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then
    redis.pcall('UNLINK', key)
    return answer
  end
end
return redis.status_reply('OK')
