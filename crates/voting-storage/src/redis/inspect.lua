-- Returns this server's time, what it tells about its memory, statistics, persistence and replication ('' where it may not be
-- asked), and the place in a sharded poll that the store keeps ('' for none).
-- KEYS: the hash of the first choice's counters
local function info(section)
  local answer = redis.pcall('INFO', section)
  return type(answer) == 'string' and answer or ''
end
local time = redis.pcall('TIME')
if time.err then
  return redis.error_reply('NOPERM no permissions for time: ' .. time.err)
end
local place = redis.pcall('HGET', KEYS[1], 'place')
return {
  time, info('memory'), info('stats'), info('persistence'), info('replication'),
  type(place) == 'string' and place or ''
}
