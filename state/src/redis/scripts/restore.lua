-- Begins a new epoch after a loss, with what was spent as the audit log tells it; a sum only grows.
-- KEYS 1 epoch  2.. for each budget the hashes its window adds up, the oldest first
-- ARGV 1 now in us, 0 for this server's clock  2 this server's run  3 the new id  4 the id that was lost
--      5.. for each budget: spent, the last hash's life in ms, the count of fields to raise, those fields, the count of
--      hashes, and for each: the count of fields, and the fields: spent and held by turns
local now_ms = text(floor(clock(ARGV[1]) / 1000))
local a, k = 5, 2
while a < #ARGV do
  local told, life, raised = tonumber(ARGV[a]), ARGV[a + 1], tonumber(ARGV[a + 2])
  local fields = {unpack(ARGV, a + 3, a + 2 + raised)}
  local hashes, known = tonumber(ARGV[a + 3 + raised]), 0
  a = a + 4 + raised
  for key = k, k + hashes - 1 do
    local n = tonumber(ARGV[a])
    local sums = redis.call('HMGET', KEYS[key], unpack(ARGV, a + 1, a + n))
    for i = 1, n, 2 do known = known + (tonumber(sums[i] or 0) or 0) end
    a = a + 1 + n
  end
  k = k + hashes
  local last = KEYS[k - 1]
  for _, field in ipairs(fields) do
    local sum = tonumber(redis.call('HGET', last, field) or 0) or 0
    if told > known then redis.call('HSET', last, field, text(min(sum + told - known, MAX))) end
  end
  if redis.call('PTTL', last) == -1 then redis.call('PEXPIRE', last, life) end
end
local epoch = ARGV[3] .. ':' .. ARGV[2] .. ':' .. now_ms .. ':' .. ARGV[4] .. ':' .. now_ms
redis.call('SET', KEYS[1], epoch)
return {'epoch', epoch}
