#!lua flags=no-writes
-- load reads a conversation as it stands at one instant.
--
-- KEYS: its state, the data keys of its tenant in the partition, its outbox. ARGV: its id, and the version that the caller
-- knows. It answers nothing when there is no such conversation; else the fields below, the wrapped data key and the rows
-- of the outbox, each place followed by its row. The sealed state is left out when the caller's version is the one in
-- force.
if #KEYS ~= 3 or #ARGV ~= 2 then
  return redis.error_reply('ERR turnout load: want 3 keys and 2 arguments')
end
local state = redis.call('HMGET', KEYS[1], 'v', 'ops', 'ah', 'lt', 'lx', 'at', 'ax', 'ov', 'al', 'st')
if not state[1] then return {} end
if state[1] == ARGV[2] then state[10] = '' end
local out = {}
for i = 1, 10 do out[i] = state[i] or '' end
out[11] = redis.call('HGET', KEYS[2], ARGV[1]) or ''
local rows = redis.call('HGETALL', KEYS[3])
for i = 1, #rows do out[11 + i] = rows[i] end
return out
