-- Says which holds are overdue, and leaves a sign of life by which an old dump is told.
-- KEYS 1 epoch  2 open holds
-- ARGV 1 now in us, 0 for this server's clock  2 stamp the epoch must begin with  3 how many at most
-- Returns the beat in ms and the holds, or -1 where the epoch is another
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local epoch = redis.call('GET', KEYS[1])
if not epoch or string.sub(epoch, 1, #ARGV[2]) ~= ARGV[2] then return {-1} end
local beat = math.max(math.floor(now / 1000), tonumber(string.sub(epoch, #ARGV[2] + 1)))
redis.call('SET', KEYS[1], ARGV[2] .. string.format('%.0f', beat))
return {beat, redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', math.floor(now / 1000)), 'LIMIT', 0, ARGV[3])}
