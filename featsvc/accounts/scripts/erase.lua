-- Unit: one entity and all data stored about it, under past definitions too.
--
-- KEYS[1]  the entity's hash; layout in featsvc/accounts/layout.py
-- Returns the number of keys deleted, 1 if an old service was about (then it may have keys besides
-- the hash), and the digests of the entity's distinct states.

local key = KEYS[1]
if redis.call('TYPE', key).ok ~= 'hash' then return {redis.call('DEL', key), 0} end
local adopted = string.sub(redis.call('HGET', key, 'n') or '', 17, 24)
local is_shared = redis.call('HSTRLEN', key, 'm') == 16 or string.find(adopted, '[^%z]') ~= nil
local reply = {0, is_shared and 1 or 0}
if reply[2] == 1 then
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if #name == 9 and string.sub(name, -1) == 'u' then reply[#reply + 1] = string.sub(name, 1, 8) end
  end
end
reply[1] = redis.call('DEL', key)
return reply
