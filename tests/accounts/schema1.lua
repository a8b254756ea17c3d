-- Unit: one entity and one or more of its events, applied in order, all or nothing.
--
-- KEYS[1]  the entity's hash; layout in featsvc/accounts/layout.py
-- ARGV[1]  msgpack plan {ttl_ms, states}; ttl_ms 0 never expires the entity
--          state {base, kind, rings, cap, longest_ms}; ring {letter, width_ms, buckets}
-- ARGV[2]  msgpack call {now_ms, kept_ids, horizon_ms, events}
--          event {time_ms, state number, value, state number, value, ...}
-- ARGV[3]  8-byte hashes end to end: one event id per event, then the members of distinct states;
--          the value of a distinct state is the number of its member, counted from the first id
-- Returns one number per event: 1 applied, 2 duplicate, 3 too late for every ring.
--
-- The hash keeps the last kept_ids event ids. With horizon_ms > 0, a sorted set keeps all ids for
-- that long instead.

local key = KEYS[1]
local plan = cmsgpack.unpack(ARGV[1])
local call = cmsgpack.unpack(ARGV[2])
local ttl_ms, states = plan[1], plan[2]
local now, kept_ids, horizon_ms, events = call[1], call[2], call[3], call[4]

local pack, unpack_at, sub, find = struct.pack, struct.unpack, string.sub, string.find
local hashes = ARGV[3]
local floor, min, max = math.floor, math.min, math.max

local COUNT, SUM, MOMENTS, MIN, MAX, FIRST, LAST, DISTINCT = 0, 1, 2, 3, 4, 5, 6, 7
local RECORD_BYTES = {[COUNT] = 8, [SUM] = 12, [MOMENTS] = 24, [MIN] = 12, [MAX] = 12,
                      [FIRST] = 20, [LAST] = 20}
local U32_MAX = 4294967295
local CLOCK_SLACK_MS = 60000  -- by how much the clocks of services may disagree

local fields, dirty = {}, {}
local _  -- for unused results of unpack

local function load(name)
  local text = fields[name]
  if text == nil then
    text = redis.call('HGET', key, name) or ''
    fields[name] = text
  end
  return text
end

local function store(name, text)
  fields[name] = text
  dirty[name] = true
end

local function hash_at(number) return sub(hashes, number * 8 - 7, number * 8) end

local meta = redis.call('HGET', key, 'm')
local newest, reference = 0, 0
if meta then
  newest, reference = unpack_at('<dd', meta)
end

-- Return the record of bucket `index` with one more event; `old` is the present record or nil.
local function merge(kind, index, old, time, value)
  if kind == COUNT then
    local n = 0
    if old then _, n = unpack_at('<I4I4', old) end
    return pack('<I4I4', index, min(n + 1, U32_MAX))
  elseif kind == SUM then
    if old then
      local _, sum = unpack_at('<I4d', old)
      value = sum + value
    end
    return pack('<I4d', index, value)
  elseif kind == MOMENTS then
    local n, mean, m2 = 0, 0, 0
    if old then _, n, mean, m2 = unpack_at('<I4I4dd', old) end
    n = min(n + 1, U32_MAX)
    local delta = value - mean
    mean = mean + delta / n
    return pack('<I4I4dd', index, n, mean, m2 + delta * (value - mean))
  elseif kind == MIN or kind == MAX then
    if old then
      local _, kept = unpack_at('<I4d', old)
      value = (kind == MIN) and min(kept, value) or max(kept, value)
    end
    return pack('<I4d', index, value)
  end
  if old then  -- among equal times FIRST keeps the first arrival, LAST the last
    local _, at = unpack_at('<I4d', old)
    if (kind == FIRST and at <= time) or (kind == LAST and at > time) then return old end
  end
  return pack('<I4dd', index, time, value)
end

-- Merge an event into one ring; return false if it is older than the ring's first bucket.
local function merge_ring(name, ring, kind, time, value)
  local width, index, oldest = ring[2], 0, 0
  if width > 0 then
    index = floor(time / width)
    oldest = floor(reference / width) - ring[3] + 1
    if index < oldest then return false end
  end
  local text, size = load(name), RECORD_BYTES[kind]
  local from = 1
  while from < #text and unpack_at('<I4', text, from) < oldest do from = from + size end
  if from > 1 then text = sub(text, from) end
  local at = #text - size + 1
  while at >= 1 and unpack_at('<I4', text, at) > index do at = at - size end
  if at >= 1 and unpack_at('<I4', text, at) == index then
    local record = merge(kind, index, sub(text, at, at + size - 1), time, value)
    store(name, sub(text, 1, at - 1) .. record .. sub(text, at + size))
  else
    local record = merge(kind, index, nil, time, value)
    store(name, sub(text, 1, at + size - 1) .. record .. sub(text, at + size))
  end
  return true
end

-- Add a member to the HyperLogLog of its bucket, in each ring of a state beyond its cap.
local function add_to_sketches(state, time, member)
  for _, ring in ipairs(state[3]) do
    if merge_ring(state[1] .. ring[1], ring, COUNT, time) then
      local width = ring[2]
      local index = (width > 0) and floor(time / width) or 0
      local sketch = key .. ':' .. state[1] .. ring[1] .. string.format('%d', index)
      redis.call('PFADD', sketch, member)
      if width > 0 then redis.call('PEXPIRE', sketch, width * (ring[3] + 1)) end
    end
  end
end

local MEMBER_BYTES, HEADER_BYTES = 16, 8

-- Return the position of `needle` among records of `size` bytes, or nil.
local function find_record(text, needle, size)
  local at = find(text, needle, 1, true)
  while at and (at - 1) % size ~= 0 do at = find(text, needle, at + 1, true) end
  return at
end

-- Update a member's last-seen time; return false if the event is older than the longest window.
local function merge_distinct(state, time, member)
  local cap, longest = state[4], state[5]
  local oldest = (longest > 0) and (reference - longest) or -1
  if time <= oldest then return false end
  local name = state[1] .. 'u'
  local text = load(name)
  if text == '' then text = pack('<d', 0) end
  local evicted = unpack_at('<d', text)
  local from = HEADER_BYTES + 1
  while from < #text and unpack_at('<d', text, from + 8) <= oldest do from = from + MEMBER_BYTES end
  text = sub(text, from)  -- members only
  local at = find_record(text, member, MEMBER_BYTES)
  if at then
    time = max(time, unpack_at('<d', text, at + 8))
    text = sub(text, 1, at - 1) .. sub(text, at + MEMBER_BYTES)
  end
  at = #text - MEMBER_BYTES + 1
  while at >= 1 and unpack_at('<d', text, at + 8) > time do at = at - MEMBER_BYTES end
  text = sub(text, 1, at + MEMBER_BYTES - 1) .. member .. pack('<d', time) .. sub(text, at + MEMBER_BYTES)
  local saturated = evicted > max(oldest, 0)
  if #text > cap * MEMBER_BYTES then
    if not saturated then
      for first = 1, #text, MEMBER_BYTES do
        add_to_sketches(state, unpack_at('<d', text, first + 8), sub(text, first, first + 7))
      end
    end
    saturated = true
    evicted = max(evicted, unpack_at('<d', text, 9))
    text = sub(text, MEMBER_BYTES + 1)
  end
  if saturated then add_to_sketches(state, time, member) end
  store(name, pack('<d', evicted) .. text)
  return true
end

local function apply(event)
  local time = event[1]
  local before = reference
  reference = max(reference, min(time, now) - CLOCK_SLACK_MS)
  local counted = #event == 1  -- updates no state, but makes the entity known
  for i = 2, #event, 2 do
    local state, value = states[event[i]], event[i + 1]
    local kind = state[2]
    if kind == DISTINCT then
      counted = merge_distinct(state, time, hash_at(value)) or counted
    else
      for _, ring in ipairs(state[3]) do
        counted = merge_ring(state[1] .. ring[1], ring, kind, time, value) or counted
      end
    end
  end
  if not counted then
    reference = before
    return false
  end
  newest = max(newest, time)
  return true
end

local ID_BYTES = 8
local ids_key = key .. ':e'

local function seen(ids, id)
  if horizon_ms > 0 then return redis.call('ZSCORE', ids_key, id) ~= false end
  return find_record(ids, id, ID_BYTES) ~= nil
end

local outcomes, applied = {}, 0
local ids = (horizon_ms > 0) and '' or load('e')
for i, event in ipairs(events) do
  local id = hash_at(i)
  if seen(ids, id) then
    outcomes[i] = 2
  elseif apply(event) then
    outcomes[i] = 1
    applied = applied + 1
    if horizon_ms > 0 then
      redis.call('ZADD', ids_key, now, id)
    else
      ids = ids .. id
    end
  else
    outcomes[i] = 3
  end
end
if applied > 0 then
  if horizon_ms > 0 then
    redis.call('ZREMRANGEBYSCORE', ids_key, '-inf', now - horizon_ms)
    redis.call('PEXPIRE', ids_key, horizon_ms)
  else
    store('e', sub(ids, -kept_ids * ID_BYTES))
  end
  store('m', pack('<dd', newest, reference))
  local command = {'HSET', key}
  for name in pairs(dirty) do
    command[#command + 1] = name
    command[#command + 1] = fields[name]
  end
  redis.call(unpack(command))
  if ttl_ms > 0 then redis.call('PEXPIRE', key, ttl_ms) else redis.call('PERSIST', key) end
end
return outcomes
