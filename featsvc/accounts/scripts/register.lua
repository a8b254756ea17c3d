-- Unit: one namespace and the definitions of one service; registers them or renews their lease.
--
-- KEYS[1]  the register, a hash; layout in featsvc/accounts/register.py
-- ARGV[1]  msgpack {now_ms, lease_end_ms, margin_ms, forget_ms, states, rings}: the caller's clock,
--          the end of its lease, what an event may be ahead of that, and how long after its last
--          lease a ring is forgotten; state {canonical, digest}; ring {entity, state number, name,
--          complete-since ms as the caller knows it}, which begins a register that was lost
-- Returns {digest in use per state, complete-since ms per ring, fields of the rings that other
-- definitions have of the caller's states}.

local key = KEYS[1]
local call = cmsgpack.unpack(ARGV[1])
local now, lease_end, margin, forget = call[1], call[2], call[3], call[4]
local states, rings = call[5], call[6]
local max, min, sub = math.max, math.min, string.sub
local DIGEST_CHARS = 8
local HSET_VALUES = 1000  -- unpack takes a limited number

local fields, changes = {}, {}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
local first = not fields.leased_until
local leased = tonumber(fields.leased_until or 0)

local function ring_times(text)
  local since, held = string.match(text or '', '^(%d+) (%d+)$')
  return tonumber(since), tonumber(held)
end

local function ring_text(since, held) return string.format('%.0f %.0f', since, held) end

-- Return the digest under which a state is stored.
local function digest_in_use(canonical, digest)
  local field = '=' .. canonical
  local known = fields[field] or ''
  for at = 1, #known, DIGEST_CHARS do
    if sub(known, at, at + DIGEST_CHARS - 1) == digest then return digest end
  end
  -- The first definitions may have two spellings of a state, each with values of earlier versions.
  if known ~= '' and not first then return sub(known, 1, DIGEST_CHARS) end
  fields[field] = known .. digest
  changes[field] = fields[field]
  return digest
end

local digests, complete_since, others = {}, {}, {}
local own, kept = {}, {}
for i, state in ipairs(states) do digests[i] = digest_in_use(state[1], state[2]) end
for i, ring in ipairs(rings) do
  local state = ring[1] .. ':' .. digests[ring[2]]
  local field = state .. ring[3]
  local since, held = ring_times(fields[field])
  if not since then
    since = first and ring[4] or (max(now, leased) + margin)
    changes[field] = ring_text(since, lease_end)
  elseif held + forget / 2 < lease_end then  -- seldom, to spare the append-only file
    changes[field] = ring_text(since, lease_end)
  end
  own[field], kept[state] = true, true
  complete_since[i] = since
end

-- Rings of other definitions. The caller writes those of its own states too; its events are missing
-- in all others until its lease ends.
for field, text in pairs(fields) do
  local colon = string.find(field, ':', 1, true)
  if colon and not own[field] then
    local since, held = ring_times(text)
    if not since or held + forget < now then
      redis.call('HDEL', key, field)
    elseif kept[sub(field, 1, colon + DIGEST_CHARS)] then
      others[#others + 1] = field
    elseif since < lease_end + margin then
      changes[field] = ring_text(lease_end + margin, held)
    end
  end
end

local values = {}
for field, text in pairs(changes) do
  values[#values + 1] = field
  values[#values + 1] = text
end
for at = 1, #values, HSET_VALUES do
  redis.call('HSET', key, unpack(values, at, min(at + HSET_VALUES - 1, #values)))
end
redis.call('HSET', key, 'leased_until', string.format('%.0f', max(leased, lease_end)))
return {digests, complete_since, others}
