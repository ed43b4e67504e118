-- Returns the origin of the votes that are cast in this store, or '' if it has none of its own yet: see adopt.lua.
-- KEYS: the hash of a choice's counters
for _, source in ipairs({{'own:run', 'server', 'run_id:(%w+)'}, {'own:history', 'replication', 'master_replid:(%w+)'}}) do
  local field, section, pattern = unpack(source)
  local info = redis.pcall('INFO', section)
  local id = type(info) == 'string' and string.match(info, pattern)
  local own_id = redis.call('HGET', KEYS[1], field)
  if id and own_id and id ~= own_id then
    return ''
  end
end
return redis.call('HGET', KEYS[1], 'own') or ''
