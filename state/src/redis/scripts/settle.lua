-- Ends one hold: by its cost, or, once it is overdue, by its estimate. Contract: docs/spec/hot-state.md.
-- KEYS 1 call  2 open holds  3.. calls under way, then one sheet of sums for each period of the budgets
-- ARGV 1 now in us, 0 for this server's clock  2 's' to settle, 'x' to expire  3 estimate  4 cost
--      5 '1' if the hold is so old that its settlement may have been forgotten  6 ms to remember the end of the call
--      7 the hold as the reaper reads it  8 when the hold ends, in ms  9 the count of calls under way
--      10.. for each sheet: its life in ms, the count of sums, and for each: spent field, held field
-- Returns 0 applied, 1 duplicate, 2 too late, 3 not overdue
local now_ms = floor(clock(ARGV[1]) / 1000)

local phase, estimate, left, due, tightest, warned = read_call(redis.call('GET', KEYS[1]))
estimate, left = estimate or tonumber(ARGV[3]), left or tonumber(ARGV[3])
due, tightest, warned = due or tonumber(ARGV[8]), tightest or -1, warned or 0

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

local sheets, a, flights = {}, 10, tonumber(ARGV[9])
for k = 3 + flights, #KEYS do
  local fields, n = {}, tonumber(ARGV[a + 1])
  for i = 1, 2 * n do fields[i] = ARGV[a + 1 + i] end
  local sums, writes, is_new = redis.call('HMGET', KEYS[k], unpack(fields)), {}, false
  for i = 1, 2 * n, 2 do
    local spent, held = count(sums[i]), count(sums[i + 1])
    if phase == 'o' then held = max(held - estimate, 0) end
    if phase == 'x' then spent = max(spent - estimate, 0) end
    is_new = is_new or not sums[i + 1]
    writes[2 * i - 1], writes[2 * i] = fields[i], text(min(spent + cost, MAX))
    writes[2 * i + 1], writes[2 * i + 2] = fields[i + 1], text(held)
  end
  sheets[k] = {writes, is_new and ARGV[a]}
  a = a + 2 + 2 * n
end

local kept = text(max(due - now_ms, 0) + tonumber(ARGV[6]))
redis.call('SET', KEYS[1], call_text(ARGV[2], estimate, left, due, tightest, warned), 'PX', kept)
write(sheets)
if phase == 'o' then redis.call('ZREM', KEYS[2], ARGV[7]) end
for k = 3, 2 + flights do
  redis.call('ZREM', KEYS[k], (string.match(ARGV[7], '^[^|]+')))
end
return 0
