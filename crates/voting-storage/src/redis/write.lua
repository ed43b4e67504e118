-- Begins the scripts that write several keys. A write may fail for want of a permission, for instance, and Redis undoes none
-- of a script. So a script notes for each write the command that takes it back.
local undo = {}

-- Runs a command. Returns nil, or its error once the writes before it are undone.
local function write(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then
    return nil
  end
  for _, command in ipairs(undo) do
    redis.call(unpack(command))
  end
  return #undo > 0 and redis.error_reply('UNDONE ' .. answer.err) or answer
end

