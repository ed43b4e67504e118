-- Runs the commands that counting a ballot needs, and leaves no trace but a count of zero.
-- KEYS: the counts of the two choices, then a key of no other use
local key = KEYS[3]
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
