-- Unit: one entity and one or more of its events, applied in order, all or nothing.
--
-- KEYS[1]  the entity's hash; layout in featsvc/accounts/layout.py
-- ARGV[1]  msgpack plan {ttl_ms, states}; ttl_ms 0 never expires the entity
--          state {base, kind, letters of its rings, cap, longest_ms}; longest_ms 0 is `lifetime`
-- ARGV[2]  msgpack call {now_ms, horizon_ms, mode, events, positions, shares_ids}; shares_ids where
--          old services may run beside this one
--          event {time_ms, state number, value, state number, value, ...}; positions of a back-fill
-- ARGV[3]  8-byte hashes end to end: one event id per event, then the members of distinct states;
--          the value of a distinct state is the number of its member, counted from the first id;
--          then the source of a back-fill
-- ARGV[4]  and what follows are an adoption, where an old service has written to the hash: expected
--          n, expected e, ids, the number of fields to set, these and their values, fields to
--          delete; see adopting.py
-- Returns one number per event: 1 applied, 2 duplicate, 3 too late for every ring, 4 beyond the
-- horizon. Errors: ADOPT asks for ARGV[4]; DAMAGED names a field that featsvc has not written.
--
-- The script is entity.lua, ids.lua, rings.lua, distinct.lua and ingest.lua in a row. Everything is
-- read before the first write, and written by one HSET, so that ids and counts are never apart.
-- A function costs its creation in every call: what few calls need is created when it is needed.

local key = KEYS[1]
local plan = cmsgpack.unpack(ARGV[1])
local call = cmsgpack.unpack(ARGV[2])
local hashes = ARGV[3]
local ttl_ms, states = plan[1], plan[2]
local now, horizon_ms, mode, events = call[1], call[2], call[3], call[4]
local positions, shares_ids = call[5], call[6]

local pack, unpack_at, sub, find = struct.pack, struct.unpack, string.sub, string.find
local floor, min, max = math.floor, math.min, math.max

local COUNT, SUM, MOMENTS, MIN, MAX, FIRST, LAST, DISTINCT = 0, 1, 2, 3, 4, 5, 6, 7
local RECORD_BYTES = {[COUNT] = 8, 12, 24, 12, 12, 20, 20}  -- of the other kinds, in that order
local COMPANION_BYTES = 20
local UNSEEN, BACKFILL = 1, 2
local U32_MAX = 4294967295
local CLOCK_SLACK_MS = 60000  -- by how much the clocks of services may disagree
local FIELDS_PER_COMMAND = 1000  -- of unpack(), whose arguments have to fit Lua's stack

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

-- Return the position of `needle` among records of `size` bytes, or nil.
local function find_record(text, needle, size)
  local at = find(text, needle, 1, true)
  while at and (at - 1) % size ~= 0 do at = find(text, needle, at + 1, true) end
  return at
end

-- The fields that the events need, in one command -------------------------------------------------

local rings = {}    -- letter -> ring, of those that the states use
local limited = {}  -- the same rings, except that of `lifetime`
local names, sizes = {'m', 'n', 'i0'}, {4, 8, 12}
local LIST = 0  -- for the size of a list of members: 8 bytes, and 16 each

local function ring_of(letter)
  local ring = rings[letter]
  if not ring then
    if letter == 'l' then
      ring = {width = 0, index = 0, oldest = 0, bytes = '\0\0\0\0'}
    else
      if letter == 's' then
        ring = {width = 10000, buckets = 37}
      elseif letter == 'm' then
        ring = {width = 300000, buckets = 73}
      elseif letter == 'h' then
        ring = {width = 3600000, buckets = 169}
      else
        ring = {width = 86400000, buckets = 91}
      end
      limited[#limited + 1] = ring
    end
    rings[letter] = ring
  end
  return ring
end

for i = 1, #events do
  local event = events[i]
  for j = 2, #event, 2 do
    local state = states[event[j]]
    local letters = state[3]
    if not state.rings then
      local base, kind, size = state[1], state[2], RECORD_BYTES[state[2]]
      local own, own_names = {}, {}
      state.rings, state.names = own, own_names
      for k = 1, #letters do
        local letter = sub(letters, k, k)
        own[k] = ring_of(letter)
        if kind ~= DISTINCT then
          local name = base .. letter
          own_names[k] = name
          names[#names + 1], sizes[#sizes + 1] = name, size
          if kind == MOMENTS then
            names[#names + 1], sizes[#sizes + 1] = base .. string.upper(letter), COMPANION_BYTES
          end
        end
      end
      if kind == DISTINCT then names[#names + 1], sizes[#sizes + 1] = base .. 'u', LIST end
    end
  end
end
if mode == BACKFILL then names[#names + 1], sizes[#sizes + 1] = 'b', 16 end

for first = 1, #names, FIELDS_PER_COMMAND do
  local last = min(first + FIELDS_PER_COMMAND - 1, #names)
  local texts = redis.call('HMGET', key, unpack(names, first, last))
  for i = first, last do
    local text = texts[i - first + 1] or ''
    local size = sizes[i]
    if (size ~= LIST and #text % size ~= 0) or (size == LIST and text ~= '' and #text % 16 ~= 8) then
      return redis.error_reply('DAMAGED field ' .. names[i])
    end
    fields[names[i]] = text
  end
end

-- The entity --------------------------------------------------------------------------------------

local META_BYTES, OLD_META_BYTES, MARK = 20, 16, '\2\0\0\0'
local NOTES, NOTES_BYTES = '<dddI4I4I4I4', 40
local FOREVER = U32_MAX

local meta, notes = fields.m, fields.n
local newest, reference = 0, 0
-- `kept` is FOREVER once the entity has lost its expiry.
local born, forgotten, adopted, shards, remembered, cursor, kept = now, 0, 0, 1, 0, 0, 0
local is_adoption = false
if notes ~= '' then
  if #notes ~= NOTES_BYTES then return redis.error_reply('DAMAGED field n') end
  born, forgotten, adopted, shards, remembered, cursor, kept = unpack_at(NOTES, notes)
elseif meta ~= '' then
  born = 0
end
if #meta == META_BYTES then
  newest, reference = unpack_at('<dd', meta)
elseif #meta == OLD_META_BYTES then
  is_adoption = ARGV[4] == notes and ARGV[5] == load('e')
  if not is_adoption then return redis.error_reply('ADOPT') end
  newest, reference = unpack_at('<dd', meta)
  kept = 0  -- the old service has set its own expiry
elseif meta ~= '' then
  return redis.error_reply('DAMAGED field m')
end
