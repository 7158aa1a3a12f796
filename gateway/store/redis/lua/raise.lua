#!lua
-- raise sees to it that the ids of relay rows that are yet to come are above one that was applied already: what a server
-- has lost of them, or a clock that is behind, would let them be taken for repeats.
--
-- KEYS: 1 the relay rows of a partition. ARGV: 1 the id. It answers 1 when it had to.
if #KEYS ~= 1 or #ARGV ~= 1 or not string.match(ARGV[1], '^%d+%-%d+$') or #ARGV[1] > 31 then
  return redis.error_reply('ERR turnout raise: want a key and an id')
end
local function id(s)
  local first, second = string.match(s, '^(%d+)%-(%d+)$')
  return {tonumber(first), tonumber(second)}
end
local want, last = id(ARGV[1]), {0, 0}
if want[1] >= 2^53 or want[2] >= 2^53 or want[1] == 0 and want[2] == 0 then
  return redis.error_reply('ERR turnout raise: the id is out of range')
end
local is = redis.call('TYPE', KEYS[1]).ok
if is == 'stream' then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = id(info[i + 1]) end
  end
elseif is ~= 'none' then
  return redis.error_reply('ERR turnout raise: the key is a ' .. is)
end
if last[1] > want[1] or last[1] == want[1] and last[2] >= want[2] then return 0 end
local at = string.format('%.0f-%.0f', want[1], want[2])
redis.call('XADD', KEYS[1], at, 'e', '')
redis.call('XDEL', KEYS[1], at)
return 1
