-- What every script that counts money begins with: the time, and the reading and weighing of sums.
local MAX = 9007199254740991

local function clock(told)
  local now = tonumber(told)
  if now > 0 then return now end
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

local function text(n) return string.format('%.0f', n) end

local function count(sum)
  if not sum then return 0 end
  local n = tonumber(sum)
  if not n or n < 0 or n > MAX or n % 1 ~= 0 then error({err = 'DAMAGED a sum is not a count'}) end
  return n
end

-- The hour of a day's sum that was the oldest to hold money.
local function hour_of(key, field, day)
  local hour = string.match(field, '^%d+')
  local name = string.sub(field, 2)
  for h = 0, 23 do
    if hour then break end
    local sums = redis.call('HMGET', key, h .. 's' .. name, h .. 'h' .. name)
    if count(sums[1]) + count(sums[2]) > 0 then hour = h end
  end
  return day * 24 + (hour or 0)
end

-- Weighs `amount` more against the budgets whose arguments begin at `a` and whose keys begin at `k`: `n` sheets to be
-- written, then rolling windows to be added up. For each sheet: life in ms, the count of sums, and for each: spent field,
-- held field, limit, warning, place. For each window: limit, warning, place, first day, the count of days, and for each:
-- the count of fields, and the fields.
local function weigh(a, k, n, amount)
  local w = {least = MAX, tightest = -1, warned = 0, refused = {3}, sheets = {}}
  local function compare(used, limit, warn, nth)
    local left = math.max(limit - used, 0)
    if limit < MAX and (left < w.least or (left == w.least and nth < w.tightest)) then
      w.least, w.tightest = left, nth
    end
    local total = math.min(used + amount, MAX)
    if total >= warn then w.warned = w.warned + 2 ^ nth end
    return total > limit, left
  end
  local function refuse(nth, left, oldest)
    local r = w.refused
    r[#r + 1], r[#r + 2], r[#r + 3] = nth, left, oldest
  end

  for key = k, k + n - 1 do
    local fields, m = {}, tonumber(ARGV[a + 1])
    for i = 0, m - 1 do
      fields[2 * i + 1], fields[2 * i + 2] = ARGV[a + 2 + 5 * i], ARGV[a + 3 + 5 * i]
    end
    local sums, writes, is_new = redis.call('HMGET', KEYS[key], unpack(fields)), {}, false
    for i = 0, m - 1 do
      local held, nth = count(sums[2 * i + 2]), tonumber(ARGV[a + 6 + 5 * i])
      local used = math.min(count(sums[2 * i + 1]) + held, MAX)
      local over, left = compare(used, tonumber(ARGV[a + 4 + 5 * i]), tonumber(ARGV[a + 5 + 5 * i]), nth)
      if over then refuse(nth, left, -1) end
      is_new = is_new or not sums[2 * i + 2]
      writes[2 * i + 1], writes[2 * i + 2] = fields[2 * i + 2], text(math.min(held + amount, MAX))
    end
    w.sheets[key] = {writes, is_new and ARGV[a]}
    a = a + 2 + 5 * m
  end

  local key = k + n
  while a < #ARGV do
    local nth, day, days = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
    local limit, warn, used, oldest = tonumber(ARGV[a]), tonumber(ARGV[a + 1]), 0, nil
    a = a + 5
    for d = day, day + days - 1 do
      local m = tonumber(ARGV[a])
      local sums = redis.call('HMGET', KEYS[key], unpack(ARGV, a + 1, a + m))
      for i = 1, m do
        local sum = count(sums[i])
        if sum > 0 and not oldest then oldest = {KEYS[key], ARGV[a + i], d} end
        used = used + sum
      end
      a, key = a + 1 + m, key + 1
    end
    local over, left = compare(math.min(used, MAX), limit, warn, nth)
    if over then refuse(nth, left, oldest and hour_of(unpack(oldest)) or -1) end
  end
  return w
end

local function write(sheets)
  for key, sheet in pairs(sheets) do
    redis.call('HSET', KEYS[key], unpack(sheet[1]))
    if sheet[2] then redis.call('PEXPIRE', KEYS[key], sheet[2]) end
  end
end

-- What is known of a call: its phase, what it holds, what was left, when it is due, its tightest budget and warnings.
local function read_call(call)
  local phase, held, left, due, tightest, warned =
    string.match(call or '', '^(%a) (%d+) (%d+) (%d+) (-?%d+) (%d+)$')
  return phase, tonumber(held), tonumber(left), tonumber(due), tonumber(tightest), tonumber(warned)
end

local function call_text(phase, held, left, due, tightest, warned)
  return string.format('%s %.0f %.0f %.0f %.0f %.0f', phase, held, left, due, tightest, warned)
end

