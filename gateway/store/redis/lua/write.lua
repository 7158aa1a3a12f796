#!lua
-- write compares and then writes, all in one slot: everything or nothing.
--
-- KEYS are the keys that it touches. ARGV[1] is the number of guards; then follow the guards and after them the writes,
-- each as its letter, the number of its key and its arguments:
--
--   =  field value    the field of the hash has the value        H  field value   sets a field of a hash
--   !  field          the hash has no such field                 D  field         takes it away
--   <  field number   the field's number is not above, or none   Z  score member  puts a member into a sorted set
--   ~  member         the set has no such member                 R  member        takes it away
--                                                                X  id value      appends to a stream, as its field e
--                                                                S  member        puts a member into a set
--                                                                T  member        takes it away
--                                                                P  milliseconds  lets the key expire after these
--                                                                K                takes the whole key away
--
-- It answers 0 when it wrote, and the number of the first guard that does not hold when it did not. Redis does not take
-- back what a script wrote before it failed, so everything is read and checked before the first write.
local arity = {['='] = 2, ['!'] = 1, ['<'] = 2, ['~'] = 1, H = 2, D = 1, Z = 2, R = 1, X = 2, S = 1, T = 1, P = 1, M = 1, K = 0}
local guard = {['='] = true, ['!'] = true, ['<'] = true, ['~'] = true}
local kind = {['='] = 'hash', ['!'] = 'hash', ['<'] = 'hash', ['~'] = 'set', H = 'hash', D = 'hash', Z = 'zset', R = 'zset',
  X = 'stream', M = 'stream', S = 'set', T = 'set'}

local function bad(what, at)
  return redis.error_reply('ERR turnout write: ' .. what .. ' at argument ' .. at)
end

local function integer(s)
  if not string.match(s, '^%-?%d+$') or #s > 16 then return nil end
  return tonumber(s)
end

local guards = ARGV[1] and integer(ARGV[1])
if not guards or guards < 0 then return bad('the number of guards is none', 1) end

local ops, last = {}, {}
local at = 2
while at <= #ARGV do
  local letter, n = ARGV[at], arity[ARGV[at]]
  if not n then return bad('unknown letter', at) end
  if at + 1 + n > #ARGV then return bad('arguments are missing', at) end
  local key = integer(ARGV[at + 1])
  key = key and KEYS[key]
  if not key then return bad('no such key', at + 1) end
  if (guard[letter] or false) ~= (#ops < guards) then return bad('a guard among writes, or the reverse', at) end
  local is = redis.call('TYPE', key).ok
  if kind[letter] and is ~= 'none' and is ~= kind[letter] then return bad('the key is a ' .. is, at + 1) end
  local op = {letter, key, ARGV[at + 2], ARGV[at + 3]}
  if letter == '<' then
    op[4] = integer(op[4])
    if not op[4] then return bad('no number', at + 3) end
    op[5] = redis.call('HGET', key, op[3])
    if op[5] then
      op[5] = integer(op[5])
      if not op[5] then return bad('the field is no number', at + 2) end
    end
  elseif letter == 'Z' then
    if not integer(op[3]) then return bad('no score', at + 2) end
  elseif letter == 'P' then
    local ms = integer(op[3])
    if not ms or ms <= 0 then return bad('no time to live', at + 2) end
  elseif letter == 'M' then
    local first, second = string.match(op[3], '^(%d+)%-(%d+)$')
    if not first or #first > 15 or #second > 15 then return bad('no id', at + 2) end
  elseif letter == 'X' and op[3] ~= '*' then
    local first, second = string.match(op[3], '^(%d+)%-(%d+)$')
    if not first or #first > 15 or #second > 15 then return bad('no id', at + 2) end
    if last[key] and tonumber(first) <= last[key] then return bad('the ids do not rise', at + 2) end
    last[key] = tonumber(first)
  end
  ops[#ops + 1] = op
  at = at + 2 + n
end
if #ops < guards then return bad('guards are missing', 1) end

for i = 1, guards do
  local op = ops[i]
  local letter, key = op[1], op[2]
  if letter == '=' and redis.call('HGET', key, op[3]) ~= op[4]
    or letter == '!' and redis.call('HEXISTS', key, op[3]) == 1
    or letter == '~' and redis.call('SISMEMBER', key, op[3]) == 1
    or letter == '<' and op[5] and op[5] > op[4] then
    return i
  end
end

-- What was decided on an older state has ids that are taken; that was answered above.
for i = guards + 1, #ops do
  local op = ops[i]
  if op[1] == 'X' and op[3] ~= '*' and #redis.call('XRANGE', op[2], op[3], '+', 'COUNT', 1) > 0 then
    return redis.error_reply('ERR turnout write: a stream is past the id ' .. op[3])
  end
end

for i = guards + 1, #ops do
  local op = ops[i]
  local letter, key = op[1], op[2]
  if letter == 'H' then redis.call('HSET', key, op[3], op[4])
  elseif letter == 'D' then redis.call('HDEL', key, op[3])
  elseif letter == 'Z' then redis.call('ZADD', key, op[3], op[4])
  elseif letter == 'R' then redis.call('ZREM', key, op[3])
  elseif letter == 'X' then redis.call('XADD', key, op[3], 'e', op[4])
  elseif letter == 'S' then redis.call('SADD', key, op[3])
  elseif letter == 'T' then redis.call('SREM', key, op[3])
  elseif letter == 'P' then redis.call('PEXPIRE', key, op[3])
  elseif letter == 'M' then redis.call('XTRIM', key, 'MINID', op[3])
  else redis.call('UNLINK', key) end
end
return 0
