-- Returns this server's time, and what it tells about its memory, statistics and persistence ('' where it may not be asked).
-- KEYS: a key, which selects the server in a cluster
local function info(section)
  local answer = redis.pcall('INFO', section)
  return type(answer) == 'string' and answer or ''
end
local time = redis.pcall('TIME')
if time.err then
  return redis.error_reply('NOPERM no permissions for time: ' .. time.err)
end
return {time, info('memory'), info('stats'), info('persistence')}
