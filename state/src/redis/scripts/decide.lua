-- One decision: token, rates, calls under way and budgets together; a refusal writes nothing.
-- Contract: docs/spec/hot-state.md.
-- KEYS 1 epoch  2 call  3 token  4.. rates  then open holds, calls under way, sheets, and the days windows add up
-- ARGV 1 now in us, 0 for this server's clock  2 stamp the epoch must begin with  3 the token's use  4 its life in ms
--      5 when it may be forgotten, in ms  6 estimate  7 hold's life in ms  8 call's life in ms  9 the hold as the reaper
--      reads it  10 the count of rates  11 of calls under way  12 of sheets
--      13.. for each of the rates: interval and tolerance in us of three windows, 0 for none
--      then the limit of each of the calls under way, then what `weigh` reads
local now = clock(ARGV[1])
local now_ms = floor(now / 1000)
local rates, flights, sheets = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])

local got = redis.call('MGET', unpack(KEYS, 1, 3 + rates))
local epoch, call, token = got[1], got[2], got[3]
if not epoch or string.sub(epoch, 1, #ARGV[2]) ~= ARGV[2] then return {-1} end
if call then
  local _, held, left, _, tightest, warned = read_call(call)
  -- A write, so that WAIT on this connection waits for what an earlier, unconfirmed attempt wrote.
  if string.sub(ARGV[3], 1, 1) == 'o' then redis.call('SET', KEYS[2], call, 'KEEPTTL') end
  return {0, held, left, tightest, warned}
end
if token and (token ~= ARGV[3] or string.sub(token, 1, 1) == 'o') then return {1} end
-- Its use may have been forgotten: only a clock that is behind still calls it good.
if not token and tonumber(ARGV[5]) <= now_ms then return {1} end

local a, paced = 13, {}
local worst, wait, near, near_left, near_ahead = 0, 0, 0, 0, 0
for k = 1, rates do
  local at, rest = {0, 0, 0}, now
  if got[3 + k] then
    local x, y, z = string.match(got[3 + k], '^(%d+) (%d+) (%d+)$')
    at = {tonumber(x), tonumber(y), tonumber(z)}
  end
  for i = 1, 3 do
    local interval, tolerance = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
    if interval > 0 then
      at[i] = max(at[i], now) + interval
      local ahead, nth = at[i] - now, 3 * k - 3 + i
      if ahead - tolerance > wait then worst, wait = nth, ahead - tolerance end
      local left = floor((tolerance - ahead) / interval)
      if near == 0 or left < near_left or (left == near_left and ahead > near_ahead) then
        near, near_left, near_ahead = nth, left, ahead
      end
    end
    rest = max(rest, at[i])
    a = a + 2
  end
  paced[k] = {at, rest}
end
if worst > 0 then return {2, worst, wait} end

local open = 4 + rates
for k = open + 1, open + flights do
  if redis.call('ZCOUNT', KEYS[k], '(' .. text(now_ms), '+inf') >= tonumber(ARGV[a]) then
    return {4, k - open}
  end
  a = a + 1
end

local estimate = tonumber(ARGV[6])
local least, tightest, warned, refused, sums = weigh(a, open + flights + 1, sheets, estimate)
if #refused > 1 then return refused end

local due = now_ms + tonumber(ARGV[7])
redis.call('SET', KEYS[2], call_text('o', estimate, least, due, tightest, warned), 'PX', ARGV[8])
if not token then
  -- By the clock that is further behind.
  local life = max(tonumber(ARGV[4]), tonumber(ARGV[5]) - now_ms)
  redis.call('SET', KEYS[3], ARGV[3], 'PX', text(life))
end
for k = 1, rates do
  local at, rest = paced[k][1], paced[k][2]
  if rest > now then
    -- A minute more, should a failover bring a clock that is behind.
    local life = text(math.ceil((rest - now) / 1000) + 60000)
    redis.call('SET', KEYS[3 + k], format('%.0f %.0f %.0f', at[1], at[2], at[3]), 'PX', life)
  end
end
write(sums)
if sheets > 0 and estimate > 0 then
  redis.call('ZADD', KEYS[open], text(due), ARGV[9])
end
for k = open + 1, open + flights do
  local life = tonumber(ARGV[7]) + 60000
  redis.call('ZREMRANGEBYSCORE', KEYS[k], '-inf', text(now_ms))
  redis.call('ZADD', KEYS[k], text(due), (string.match(ARGV[9], '^[^|]+')))
  if redis.call('PTTL', KEYS[k]) < life then redis.call('PEXPIRE', KEYS[k], text(life)) end
end
return {0, estimate, least, tightest, warned, near, near_left, near_ahead}
