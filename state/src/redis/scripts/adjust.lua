-- Corrects what a budget has spent, once per id. Contract: docs/spec/hot-state.md.
-- KEYS 1 adjustment  2.. the hashes the window adds up, the oldest first
-- ARGV 1 '+' or '-'  2 by how much  3 ms to remember it  4 the last hash's life in ms  5 the field of a hash's whole, or
--      empty  6.. for each hash: the count of fields, and the fields: spent and held by turns, the oldest first
-- Returns what the window has spent and holds then
local spent, held, writes, a = 0, 0, {}, 6
local days = {}
for k = 2, #KEYS do
  local n = tonumber(ARGV[a])
  local sums = redis.call('HMGET', KEYS[k], unpack(ARGV, a + 1, a + n))
  for i = 1, n, 2 do
    spent, held = spent + count(sums[i]), held + count(sums[i + 1])
  end
  local whole = ARGV[5] ~= '' and count(redis.call('HGET', KEYS[k], ARGV[5]))
  days[k] = {sums, a, n, whole}
  a = a + 1 + n
end
spent, held = min(spent, MAX), min(held, MAX)
if redis.call('GET', KEYS[1]) then return {spent, held} end

-- Changes one sum, and with it the whole it is part of.
local function change(k, i, by)
  local sums, first = days[k][1], days[k][2]
  redis.call('HSET', KEYS[k], ARGV[first + i], text(min(count(sums[i]) + by, MAX)))
  if days[k][4] then
    days[k][4] = min(max(days[k][4] + by, 0), MAX)
    redis.call('HSET', KEYS[k], ARGV[5], text(days[k][4]))
  end
end

local amount = tonumber(ARGV[2])
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
if ARGV[1] == '+' then
  change(#KEYS, days[#KEYS][3] - 1, amount)
  if redis.call('PTTL', KEYS[#KEYS]) == -1 then redis.call('PEXPIRE', KEYS[#KEYS], ARGV[4]) end
  return {min(spent + amount, MAX), held}
end
local rest = min(amount, spent)
local after = spent - rest
for k = #KEYS, 2, -1 do
  for i = days[k][3] - 1, 1, -2 do
    local taken = min(rest, count(days[k][1][i]))
    if taken > 0 then change(k, i, -taken) end
    rest = rest - taken
  end
end
return {after, held}
