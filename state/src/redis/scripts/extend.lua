-- Raises what an open hold holds, or refuses and writes nothing. Contract: docs/spec/hot-state.md.
-- KEYS 1 call  2 open holds  3.. sheets, and the days windows add up
-- ARGV 1 now in us, 0 for this server's clock  2 what is to be held in all  3 the hold as the reaper reads it
--      4 the count of sheets  5.. what `weigh` reads
-- Returns 0 held; 3 and the budgets that refuse; 5 no such hold is open
local now_ms = floor(clock(ARGV[1]) / 1000)
local phase, held, left, due, tightest, warned = read_call(redis.call('GET', KEYS[1]))
if phase ~= 'o' or due <= now_ms then return {5} end
local total, sheets = tonumber(ARGV[2]), tonumber(ARGV[4])
if total <= held then return {0} end

local _, _, _, refused, sums = weigh(5, 3, sheets, total - held)
if #refused > 1 then return refused end
redis.call('SET', KEYS[1], call_text('o', total, left, due, tightest, warned), 'KEEPTTL')
write(sums)
if sheets > 0 then redis.call('ZADD', KEYS[2], text(due), ARGV[3]) end
return {0}
