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
-- held field, terms. For each window: terms, first day, the count of days, and for each: the count of fields, and the
-- fields. Terms are a limit, or a limit and from where on to warn, as `<limit>:<warning>`; their places count from zero.
-- Returns the least left, the place where, one bit for each warning, the refusals, and the sheets as `write` takes them.
local function weigh(a, k, n, amount)
  local least, tightest, warned, refused, sheets, nth = MAX, -1, 0, {3}, {}, 0
  local function compare(terms, used)
    local limit, total = tonumber(terms), min(used + amount, MAX)
    if not limit then
      local most, warn = string.match(terms, '^(%d+):(%d+)$')
      limit = tonumber(most)
      if total >= tonumber(warn) then warned = warned + 2 ^ nth end
    end
    if limit < MAX then
      local left = max(limit - used, 0)
      if left < least then least, tightest = left, nth end
      if total > limit then
        local r = #refused
        refused[r + 1], refused[r + 2], refused[r + 3] = nth, left, -1
      end
    end
    nth = nth + 1
  end

  for key = k, k + n - 1 do
    local fields, m = {}, tonumber(ARGV[a + 1])
    for i = 0, m - 1 do
      fields[2 * i + 1], fields[2 * i + 2] = ARGV[a + 2 + 3 * i], ARGV[a + 3 + 3 * i]
    end
    local sums, writes, is_new = redis.call('HMGET', KEYS[key], unpack(fields)), {}, false
    for i = 0, m - 1 do
      local held = count(sums[2 * i + 2])
      compare(ARGV[a + 4 + 3 * i], min(count(sums[2 * i + 1]) + held, MAX))
      is_new = is_new or not sums[2 * i + 2]
      writes[2 * i + 1], writes[2 * i + 2] = fields[2 * i + 2], format('%.0f', min(held + amount, MAX))
    end
    sheets[key] = {writes, is_new and ARGV[a]}
    a = a + 2 + 3 * m
  end

  local key = k + n
  while a < #ARGV do
    local terms, day, days = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
    local used, oldest = 0, nil
    a = a + 3
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
    local before = #refused
    compare(terms, min(used, MAX))
    if #refused > before and oldest then refused[#refused] = hour_of(unpack(oldest)) end
  end
  return least, tightest, warned, refused, sheets
end

