#!lua
-- lineage notices that what a key's slot holds has come to be written under another history: a replica has taken over, or
-- the server began anew from its disk. One that asks is to reconcile what depends on it.
--
-- KEYS: 1 the hash that remembers it, by its fields line (the history), lines (how often it was another one) and owes (until
-- when somebody is believed to reconcile). ARGV: 1 now, 2 until when the caller is believed to, 3 the history of which it
-- has still to reconcile, or '', 4 whether a hash that remembers none counts as one that has changed (1 or 0): it was seen
-- before, or what lies beside it has changed.
-- It answers the history, how often it changed, and 1 when the caller is the one to reconcile.
local function integer(s)
  if not s or not string.match(s, '^%d+$') or #s > 15 then return nil end
  return tonumber(s)
end
local now, later = integer(ARGV[1]), integer(ARGV[2])
if #KEYS ~= 1 or #ARGV ~= 4 or not now or not later or ARGV[4] ~= '0' and ARGV[4] ~= '1' then
  return redis.error_reply('ERR turnout lineage: want a key, now, an instant, a history and 0 or 1')
end
local is = redis.call('TYPE', KEYS[1]).ok
if is ~= 'none' and is ~= 'hash' then return redis.error_reply('ERR turnout lineage: the key is a ' .. is) end
local line = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
if not line then return redis.error_reply('ERR turnout lineage: the server does not name its history') end
local was = redis.call('HMGET', KEYS[1], 'line', 'lines', 'owes')
local lines = integer(was[2] or '0')
local owes = integer(was[3] or '0')
if not lines or not owes then return redis.error_reply('ERR turnout lineage: its fields are damaged') end
if not was[1] and ARGV[4] == '0' then
  redis.call('HSET', KEYS[1], 'line', line)
  return {line, lines, 0}
end
if was[1] ~= line then
  lines = lines + 1
elseif owes == 0 or owes > now and ARGV[3] ~= line then
  return {line, lines, 0}
end
redis.call('HSET', KEYS[1], 'line', line, 'lines', string.format('%.0f', lines), 'owes', string.format('%.0f', later))
return {line, lines, 1}
