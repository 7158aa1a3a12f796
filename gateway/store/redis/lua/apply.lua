#!lua
-- apply brings a tenant's queue view up to the relay rows of one partition.
--
-- KEYS: 1 the view's own fields (gen, feed, and per partition the id of the last row applied), 2 entries by conversation,
-- 3 the feed, 4 open reservations, 5 names of queues, 6 all that wait, 7 all that are set aside, 8 agents who have held
-- something; behind them the lists of queues and of agents that the rows name by number.
-- ARGV: 1 the partition, 2 a name for this life of the view if it has none, then for each row, in order, 12 arguments: its
-- id; the conversation; the lists that it leaves (of all, of its queue; 0 for none), those that it enters, its score there,
-- the name of the queue; the agents' lists that it leaves and enters (0 for none); the agent; the entry ('' for none); what
-- the feed says.
-- It answers the id of the last row that is applied now.
--
-- Rows of a partition come in the order of their ids, possibly more than once and from several nodes: what is not above
-- the last one applied is passed over.
local per = 12
local function bad(what, at)
  return redis.error_reply('ERR turnout apply: ' .. what .. ' at argument ' .. at)
end
local function integer(s)
  if not s or not string.match(s, '^%d+$') or #s > 16 then return nil end
  return tonumber(s)
end
local function id(s)
  local first, second = string.match(s or '', '^(%d+)%-(%d+)$')
  if not first or #first > 15 or #second > 15 then return nil end
  return {tonumber(first), tonumber(second)}
end
local function above(a, b) return a[1] > b[1] or a[1] == b[1] and a[2] > b[2] end

local fixed = {'hash', 'hash', 'stream', 'hash', 'set', 'zset', 'zset', 'set'}
if #KEYS < #fixed then return bad('keys are missing', 0) end
for i, want in ipairs(fixed) do
  local is = redis.call('TYPE', KEYS[i]).ok
  if is ~= 'none' and is ~= want then return bad('key ' .. i .. ' is a ' .. is, 0) end
end
local partition = integer(ARGV[1])
if not partition then return bad('no partition', 1) end
if not ARGV[2] or ARGV[2] == '' then return bad('no name', 2) end
if (#ARGV - 2) % per ~= 0 then return bad('arguments are missing', #ARGV) end

local field = 'wm' .. partition
local mark = redis.call('HGET', KEYS[1], field)
mark = id(mark or '0-0')
if not mark then return bad('the watermark is none', 1) end
local feed = integer(redis.call('HGET', KEYS[1], 'feed') or '0')
if not feed then return bad('the number of the feed is none', 2) end

local rows, seen = {}, mark
for at = 3, #ARGV, per do
  local row = {id = id(ARGV[at]), raw = ARGV[at], conv = ARGV[at + 1], score = ARGV[at + 6], queue = ARGV[at + 7],
    agent = ARGV[at + 9], entry = ARGV[at + 10], feed = ARGV[at + 11]}
  if not row.id then return bad('no id', at) end
  if row.conv == '' then return bad('no conversation', at + 1) end
  if not string.match(row.score, '^%d+$') or #row.score > 16 then return bad('no score', at + 6) end
  local lists = {}
  for i = 1, 4 do
    local n = integer(ARGV[at + 1 + i])
    if not n or n ~= 0 and (n < 6 or n == 8 or not KEYS[n]) then return bad('no such list', at + 1 + i) end
    lists[i] = n
  end
  row.lists = lists
  local both = string.match(ARGV[at + 8], '^(%d+) (%d+)$') and {string.match(ARGV[at + 8], '^(%d+) (%d+)$')}
  if not both then return bad('no lists of agents', at + 8) end
  row.leaves, row.enters = tonumber(both[1]), tonumber(both[2])
  for _, n in ipairs({row.leaves, row.enters}) do
    if n ~= 0 and (n <= #fixed or not KEYS[n]) then return bad('no such list of an agent', at + 8) end
    if n ~= 0 then
      local is = redis.call('TYPE', KEYS[n]).ok
      if is ~= 'none' and is ~= 'hash' then return bad('the list of an agent is a ' .. is, at + 8) end
    end
  end
  for _, n in ipairs(lists) do
    if n ~= 0 then
      local is = redis.call('TYPE', KEYS[n]).ok
      if is ~= 'none' and is ~= 'zset' then return bad('the list is a ' .. is, at + 2) end
    end
  end
  if above(row.id, seen) then
    seen = row.id
    rows[#rows + 1] = row
  end
end
local reserved = redis.call('HGETALL', KEYS[4])
local after = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
if #after > 0 then
  local newest = id(after[1][1])
  if not newest then return bad('the feed is damaged', 2) end
  feed = math.max(feed, newest[1])
end

redis.call('HSETNX', KEYS[1], 'gen', ARGV[2])
local done = ''
for _, row in ipairs(rows) do
  for i = 1, 2 do
    if row.lists[i] ~= 0 then redis.call('ZREM', KEYS[row.lists[i]], row.conv) end
  end
  for i = 3, 4 do
    if row.lists[i] ~= 0 then redis.call('ZADD', KEYS[row.lists[i]], row.score, row.conv) end
  end
  if row.lists[4] ~= 0 then redis.call('SADD', KEYS[5], row.queue) end
  if row.leaves ~= 0 then redis.call('HDEL', KEYS[row.leaves], row.conv) end
  if row.enters ~= 0 then
    redis.call('HSET', KEYS[row.enters], row.conv, '1')
    redis.call('SADD', KEYS[8], row.agent)
    for i = 1, #reserved, 2 do
      local agent, conv = string.match(reserved[i + 1], '^(.-)\n(.-)\n')
      if agent == row.agent and conv == row.conv then redis.call('HDEL', KEYS[4], reserved[i]) end
    end
  end
  if row.entry == '' then redis.call('HDEL', KEYS[2], row.conv) else redis.call('HSET', KEYS[2], row.conv, row.entry) end
  feed = feed + 1
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', 4096, string.format('%.0f-1', feed), 'e', row.feed)
  done = row.raw
end
if done ~= '' then
  redis.call('HSET', KEYS[1], field, done, 'feed', string.format('%.0f', feed))
end
return redis.call('HGET', KEYS[1], field) or ''
