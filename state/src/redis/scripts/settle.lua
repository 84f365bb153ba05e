-- Ends one hold: by its cost, or, once it is overdue, by its estimate. Contract: docs/spec/hot-state.md.
-- KEYS 1 call  2 open holds  3.. one sheet of sums for each window of the budgets
-- ARGV 1 now in us, 0 for this server's clock  2 's' to settle, 'x' to expire  3 estimate  4 cost
--      5 '1' if the hold is so old that its settlement may have been forgotten  6 ms to remember the end of the call
--      7 the hold as the reaper reads it  8 when the hold ends, in ms
--      9.. for each sheet: its life in ms, the count of budgets, and for each: spent field, held field
-- Returns 0 applied, 1 duplicate, 2 too late, 3 not overdue
local MAX = 9007199254740991
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local now_ms = math.floor(now / 1000)

local phase, estimate, left, due
local call = redis.call('GET', KEYS[1])
if call then phase, estimate, left, due = string.match(call, '^(%a) (%d+) (%d+) (%d+)$') end
estimate, left = tonumber(estimate or ARGV[3]), tonumber(left or ARGV[3])
due = tonumber(due or ARGV[8])

local cost = tonumber(ARGV[4])
if ARGV[2] == 'x' then
  if phase ~= 'o' then
    redis.call('ZREM', KEYS[2], ARGV[7])
    return 3
  end
  if due > now_ms then return 3 end
  cost = estimate
else
  if ARGV[5] == '1' and (not phase or phase == 's') then return 2 end
  if phase == 's' then return 1 end
end

local function count(text)
  if not text then return 0 end
  local n = tonumber(text)
  if not n or n < 0 or n > MAX or n % 1 ~= 0 then error({err = 'DAMAGED a sum is not a count'}) end
  return n
end

local sheets, a = {}, 9
for k = 3, #KEYS do
  local fields, n = {}, tonumber(ARGV[a + 1])
  for i = 1, 2 * n do fields[i] = ARGV[a + 1 + i] end
  local sums, writes, is_new = redis.call('HMGET', KEYS[k], unpack(fields)), {}, false
  for i = 1, 2 * n, 2 do
    local spent, held = count(sums[i]), count(sums[i + 1])
    if phase == 'o' then held = math.max(held - estimate, 0) end
    if phase == 'x' then spent = math.max(spent - estimate, 0) end
    is_new = is_new or not sums[i + 1]
    writes[2 * i - 1], writes[2 * i] = fields[i], string.format('%.0f', math.min(spent + cost, MAX))
    writes[2 * i + 1], writes[2 * i + 2] = fields[i + 1], string.format('%.0f', held)
  end
  sheets[k] = {writes, is_new and ARGV[a]}
  a = a + 2 + 2 * n
end

local kept = string.format('%.0f', math.max(due - now_ms, 0) + tonumber(ARGV[6]))
redis.call('SET', KEYS[1], string.format('%s %.0f %.0f %.0f', ARGV[2], estimate, left, due), 'PX', kept)
for k, sheet in pairs(sheets) do
  redis.call('HSET', KEYS[k], unpack(sheet[1]))
  if sheet[2] then redis.call('PEXPIRE', KEYS[k], sheet[2]) end
end
if phase == 'o' then redis.call('ZREM', KEYS[2], ARGV[7]) end
return 0
