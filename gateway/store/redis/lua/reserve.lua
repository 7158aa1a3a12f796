#!lua
-- reserve keeps a place of an agent for a conversation.
--
-- KEYS: who is present, what the agent holds, the open reservations. ARGV: the agent, the conversation, the operation, now.
-- It answers ok; full when the agent is not there or has no place; other when the operation stands for another place.
local function integer(s)
  if not s or not string.match(s, '^%d+$') or #s > 16 then return nil end
  return tonumber(s)
end
local agent, conv, op, now = ARGV[1], ARGV[2], ARGV[3], integer(ARGV[4])
if #KEYS ~= 3 or #ARGV ~= 4 or not now or agent == '' or conv == '' or op == '' then
  return redis.error_reply('ERR turnout reserve: want 3 keys, an agent, a conversation, an operation and an instant')
end
for i = 1, 3 do
  local is = redis.call('TYPE', KEYS[i]).ok
  if is ~= 'none' and is ~= 'hash' then return redis.error_reply('ERR turnout reserve: key ' .. i .. ' is a ' .. is) end
end
local present = redis.call('HGET', KEYS[1], agent)
if not present then return 'full' end
local till, capacity = string.match(present, '^(%d+) (%d+)')
till, capacity = integer(till), integer(capacity)
if not till or not capacity then return redis.error_reply('ERR turnout reserve: the presence is damaged') end
if till <= now then return 'full' end

local row = agent .. '\n' .. conv .. '\n'
local load = redis.call('HLEN', KEYS[2])
local has = redis.call('HEXISTS', KEYS[2], conv) == 1
local seen = {}
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local who, which = string.match(all[i + 1], '^(.-)\n(.-)\n')
  if all[i] == op then
    if who == agent and which == conv then return 'ok' end
    return 'other'
  end
  if who == agent and which == conv then has = true end
  if who == agent and not seen[which] and redis.call('HEXISTS', KEYS[2], which) == 0 then
    seen[which] = true
    load = load + 1
  end
end
if load >= capacity and not has then return 'full' end
redis.call('HSET', KEYS[3], op, row .. ARGV[4])
return 'ok'
