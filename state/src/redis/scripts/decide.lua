-- One decision: token, rates and budgets together; a refusal writes nothing. Contract: docs/spec/hot-state.md.
-- KEYS 1 epoch  2 call  3 token  4 rates  5 open holds  6.. one sheet of sums for each window of the budgets
-- ARGV 1 now in us, 0 for this server's clock  2 stamp the epoch must begin with  3 the token's use  4 its life in ms
--      5 estimate  6 hold's life in ms  7 call's life in ms  8 the hold as the reaper reads it
--      9.. interval and tolerance in us for each of three rates, 0 for none
--      15.. for each sheet: its life in ms, the count of budgets, and for each: spent field, held field, limit
local MAX = 9007199254740991
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

local got = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local epoch, call, token, arrivals = got[1], got[2], got[3], got[4]
if not epoch or string.sub(epoch, 1, #ARGV[2]) ~= ARGV[2] then return {-1} end
if call then
  local estimate, left = string.match(call, '^%a (%d+) (%d+) ')
  -- A write, so that WAIT on this connection waits for what an earlier, unconfirmed attempt wrote.
  if string.sub(ARGV[3], 1, 1) == 'o' then redis.call('SET', KEYS[2], call, 'KEEPTTL') end
  return {0, tonumber(estimate), tonumber(left)}
end
if token and (token ~= ARGV[3] or string.sub(token, 1, 1) == 'o') then return {1} end

local at, rest, worst, wait = {0, 0, 0}, now, 0, 0
if arrivals then
  local a, b, c = string.match(arrivals, '^(%d+) (%d+) (%d+)$')
  at = {tonumber(a), tonumber(b), tonumber(c)}
end
for i = 1, 3 do
  local interval = tonumber(ARGV[7 + 2 * i])
  if interval > 0 then
    at[i] = math.max(at[i], now) + interval
    local early = at[i] - now - tonumber(ARGV[8 + 2 * i])
    if early > wait then worst, wait = i, early end
  end
  rest = math.max(rest, at[i])
end
if worst > 0 then return {2, worst, wait} end

local function count(text)
  if not text then return 0 end
  local n = tonumber(text)
  if not n or n < 0 or n > MAX or n % 1 ~= 0 then error({err = 'DAMAGED a sum is not a count'}) end
  return n
end

local estimate, least, refused, sheets = tonumber(ARGV[5]), MAX, {3}, {}
local a, nth = 15, 0
for k = 6, #KEYS do
  local fields, n = {}, tonumber(ARGV[a + 1])
  for i = 0, n - 1 do
    fields[2 * i + 1], fields[2 * i + 2] = ARGV[a + 2 + 3 * i], ARGV[a + 3 + 3 * i]
  end
  local sums, writes, is_new = redis.call('HMGET', KEYS[k], unpack(fields)), {}, false
  for i = 0, n - 1 do
    local held, limit = count(sums[2 * i + 2]), tonumber(ARGV[a + 4 + 3 * i])
    local used = math.min(count(sums[2 * i + 1]) + held, MAX)
    local left = math.max(limit - used, 0)
    least = math.min(least, left)
    if math.min(used + estimate, MAX) > limit then
      refused[#refused + 1], refused[#refused + 2] = nth, left
    end
    is_new = is_new or not sums[2 * i + 2]
    writes[2 * i + 1] = fields[2 * i + 2]
    writes[2 * i + 2] = string.format('%.0f', math.min(held + estimate, MAX))
    nth = nth + 1
  end
  sheets[k] = {writes, is_new and ARGV[a]}
  a = a + 2 + 3 * n
end
if #refused > 1 then return refused end

local due = math.floor(now / 1000) + tonumber(ARGV[6])
redis.call('SET', KEYS[2], string.format('o %.0f %.0f %.0f', estimate, least, due), 'PX', ARGV[7])
if not token then redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4]) end
if rest > now then
  -- A minute more, should a failover bring a clock that is behind.
  local life = string.format('%.0f', math.ceil((rest - now) / 1000) + 60000)
  redis.call('SET', KEYS[4], string.format('%.0f %.0f %.0f', at[1], at[2], at[3]), 'PX', life)
end
for k, sheet in pairs(sheets) do
  redis.call('HSET', KEYS[k], unpack(sheet[1]))
  if sheet[2] then redis.call('PEXPIRE', KEYS[k], sheet[2]) end
end
if #KEYS > 5 and estimate > 0 then
  redis.call('ZADD', KEYS[5], string.format('%.0f', due), ARGV[8])
end
return {0, estimate, least}
