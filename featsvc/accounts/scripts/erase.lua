-- Unit: one entity and all data stored about it, under past definitions too.
--
-- KEYS[1]  the entity's hash; layout in featsvc/accounts/layout.py
-- Returns the number of keys deleted.

local key = KEYS[1]
local fields = redis.call('HGETALL', key)
local obsolete = {key, key .. ':e'}
local lists, rings = {}, {}
for i = 1, #fields, 2 do
  local state, letter = string.sub(fields[i], 1, -2), string.sub(fields[i], -1)
  if letter == 'u' then
    lists[state] = true
  elseif state ~= '' then
    rings[#rings + 1] = {state, letter, fields[i + 1]}
  end
end
-- The rings of a distinct state list the buckets that have a HyperLogLog.
for _, ring in ipairs(rings) do
  if lists[ring[1]] then
    for at = 1, #ring[3], 8 do
      local bucket = struct.unpack('<I4', ring[3], at)
      obsolete[#obsolete + 1] = string.format('%s:%s%s%d', key, ring[1], ring[2], bucket)
    end
  end
end
local deleted = 0
for _, name in ipairs(obsolete) do deleted = deleted + redis.call('DEL', name) end
return deleted
