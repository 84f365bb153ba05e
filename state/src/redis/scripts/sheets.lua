-- What every script that counts money begins with: the time, and how sums and calls are read and written.
local MAX = 9007199254740991
local min, max, floor, format = math.min, math.max, math.floor, string.format

local function clock(told)
  local now = tonumber(told)
  if now > 0 then return now end
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

local function text(n) return format('%.0f', n) end

local function count(sum)
  if not sum then return 0 end
  local n = tonumber(sum)
  if not n or n < 0 or n > MAX or n % 1 ~= 0 then error({err = 'DAMAGED a sum is not a count'}) end
  return n
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
  return format('%s %.0f %.0f %.0f %.0f %.0f', phase, held, left, due, tightest, warned)
end

