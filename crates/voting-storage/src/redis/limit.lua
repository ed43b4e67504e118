-- Begins the scripts that know the largest count. Doubles, Lua's only numbers, are exact up to here.
local MAX_VOTES = 9007199254740991

