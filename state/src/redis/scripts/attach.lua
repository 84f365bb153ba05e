-- What a gateway asks before it trusts this server with a tenant, and what it leaves for the others.
-- The epoch is `<id>:<run>:<switched ms>:<id before>:<beat ms>`; all but the beat is the stamp of `decide`.
-- KEYS 1 epoch
-- ARGV 1 now in us, 0 for this server's clock  2 this server's run  3 id to begin with  4 id the gateway knows, or none
--      5 the oldest beat it accepts, in ms
-- Returns the epoch, or why not: 'gone', 'other', 'stale'
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local now_ms = string.format('%.0f', math.floor(now / 1000))

local epoch = redis.call('GET', KEYS[1])
if not epoch then
  if ARGV[4] ~= '' then return {'gone'} end
  epoch = ARGV[3] .. ':' .. ARGV[2] .. ':' .. now_ms .. '::' .. now_ms
  redis.call('SET', KEYS[1], epoch)
  return {'epoch', epoch}
end
local id, run, _, before, beat = string.match(epoch, '^(%w+):(%w+):(%d+):(%w*):(%d+)$')
if not id or (ARGV[4] ~= '' and ARGV[4] ~= id and ARGV[4] ~= before) then return {'other'} end
if tonumber(beat) < tonumber(ARGV[5]) then return {'stale'} end
if run ~= ARGV[2] then
  epoch = id .. ':' .. ARGV[2] .. ':' .. now_ms .. ':' .. before .. ':' .. beat
  redis.call('SET', KEYS[1], epoch)
end
return {'epoch', epoch}
