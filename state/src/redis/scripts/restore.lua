-- Begins a new epoch after a loss, with what was spent as the audit log tells it; a sum only grows.
-- KEYS 1 epoch  2.. one sheet of sums for each budget
-- ARGV 1 now in us, 0 for this server's clock  2 this server's run  3 the new id  4 the id that was lost
--      5.. for each budget: its sheet's life in ms, spent field, spent
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local now_ms = string.format('%.0f', math.floor(now / 1000))
for k = 2, #KEYS do
  local a = 3 * k - 1
  local known = tonumber(redis.call('HGET', KEYS[k], ARGV[a + 1]) or 0) or 0
  if tonumber(ARGV[a + 2]) > known then redis.call('HSET', KEYS[k], ARGV[a + 1], ARGV[a + 2]) end
  if redis.call('PTTL', KEYS[k]) == -1 then redis.call('PEXPIRE', KEYS[k], ARGV[a]) end
end
local epoch = ARGV[3] .. ':' .. ARGV[2] .. ':' .. now_ms .. ':' .. ARGV[4] .. ':' .. now_ms
redis.call('SET', KEYS[1], epoch)
return {'epoch', epoch}
