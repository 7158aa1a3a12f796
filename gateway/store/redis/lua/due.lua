#!lua
-- due hands out what is due in a partition and puts it off: another node that asks does not get the same, and what is
-- never done comes again.
--
-- KEYS: the work, the timers, the outboxes (sorted by when to look again), the relay rows. ARGV: now, until when to put
-- off, at most how many of each. It answers the three lists of members and the number of relay rows.
local function integer(s)
  if not s or not string.match(s, '^%d+$') or #s > 16 then return nil end
  return tonumber(s)
end
local now, later, limit = integer(ARGV[1]), integer(ARGV[2]), integer(ARGV[3])
if #KEYS ~= 4 or #ARGV ~= 3 or not now or not later or not limit or later <= now then
  return redis.error_reply('ERR turnout due: want 4 keys, now, a later instant and a number')
end
local out = {}
for i = 1, 3 do
  out[i] = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
end
out[4] = redis.call('XLEN', KEYS[4])
for i = 1, 3 do
  for _, member in ipairs(out[i]) do
    redis.call('ZADD', KEYS[i], 'XX', ARGV[2], member)
  end
end
return out
