-- Unit: one entity and one or more of its events, applied in order, all or nothing.
--
-- KEYS[1]  the entity's hash; layout in featsvc/accounts/layout.py
-- ARGV[1]  msgpack plan {ttl_ms, states}; ttl_ms 0 never expires the entity
--          state {base, kind, letters of its rings, cap, longest_ms}; longest_ms 0 is `lifetime`
-- ARGV[2]  msgpack call {now_ms, horizon_ms, mode, events, positions}
--          event {time_ms, state number, value, state number, value, ...}; positions of a back-fill
-- ARGV[3]  8-byte hashes end to end: one event id per event, then the members of distinct states;
--          the value of a distinct state is the number of its member, counted from the first id;
--          then the source of a back-fill
-- ARGV[4]  msgpack adoption {expected n, expected e, ids, fields to set, fields to delete}, where an
--          old service has written to the hash; see adopting.py
-- Returns one number per event: 1 applied, 2 duplicate, 3 too late for every ring, 4 beyond the
-- horizon. Errors: ADOPT asks for ARGV[4]; DAMAGED names a field that featsvc has not written.
--
-- Everything is read before the first write, and written by one HSET, so that ids and counts are
-- never apart.

local key = KEYS[1]
local plan = cmsgpack.unpack(ARGV[1])
local call = cmsgpack.unpack(ARGV[2])
local hashes = ARGV[3]
local ttl_ms, states = plan[1], plan[2]
local now, horizon_ms, mode, events, positions = call[1], call[2], call[3], call[4], call[5]

local pack, unpack_at, sub, find = struct.pack, struct.unpack, string.sub, string.find
local byte, char, upper, format = string.byte, string.char, string.upper, string.format
local floor, ceil, min, max, sqrt, abs = math.floor, math.ceil, math.min, math.max, math.sqrt, math.abs

local COUNT, SUM, MOMENTS, MIN, MAX, FIRST, LAST, DISTINCT = 0, 1, 2, 3, 4, 5, 6, 7
local RECORD_BYTES = {[COUNT] = 8, [SUM] = 12, [MOMENTS] = 24, [MIN] = 12, [MAX] = 12,
                      [FIRST] = 20, [LAST] = 20}
local COMPANION_BYTES = 20
local UNSEEN, BACKFILL = 1, 2
local U32_MAX = 4294967295
local CLOCK_SLACK_MS = 60000  -- by how much the clocks of services may disagree
local FIELDS_PER_COMMAND = 1000  -- of unpack(), whose arguments have to fit Lua's stack

local rings = {
  s = {width = 10000, buckets = 37}, m = {width = 300000, buckets = 73},
  h = {width = 3600000, buckets = 169}, d = {width = 86400000, buckets = 91},
  l = {width = 0, buckets = 1, index = 0, oldest = 0, bytes = '\0\0\0\0'},
}

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

-- Load several fields at once.
local function load_all(names)
  for first = 1, #names, FIELDS_PER_COMMAND do
    local last = min(first + FIELDS_PER_COMMAND - 1, #names)
    local texts = redis.call('HMGET', key, unpack(names, first, last))
    for i = first, last do fields[names[i]] = texts[i - first + 1] or '' end
  end
end

local function hash_at(number) return sub(hashes, number * 8 - 7, number * 8) end

-- Return the position of `needle` among records of `size` bytes, or nil.
local function find_record(text, needle, size)
  local at = find(text, needle, 1, true)
  while at and (at - 1) % size ~= 0 do at = find(text, needle, at + 1, true) end
  return at
end

-- The entity ------------------------------------------------------------------------------------

local META_BYTES, OLD_META_BYTES, MARK = 20, 16, '\2\0\0\0'
local NOTES, NOTES_BYTES = '<dddI4I4I4I4', 40

local known = redis.call('HMGET', key, 'm', 'n')
local meta, notes = known[1] or '', known[2] or ''
local newest, reference = 0, 0
local born, forgotten, adopted, shards, remembered, cursor = 0, 0, 0, 1, 0, 0
if notes ~= '' then
  if #notes ~= NOTES_BYTES then return redis.error_reply('DAMAGED field n') end
  born, forgotten, adopted, shards, remembered, cursor = unpack_at(NOTES, notes)
end
local adoption
if meta == '' then
  if notes == '' then born = now end
elseif #meta == META_BYTES then
  newest, reference = unpack_at('<dd', meta)
elseif #meta == OLD_META_BYTES then
  if not ARGV[4] then return redis.error_reply('ADOPT') end
  adoption = cmsgpack.unpack(ARGV[4])
  if adoption[1] ~= notes or adoption[2] ~= load('e') then return redis.error_reply('ADOPT') end
  newest, reference = unpack_at('<dd', meta)
else
  return redis.error_reply('DAMAGED field m')
end
