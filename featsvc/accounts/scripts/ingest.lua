-- The call ----------------------------------------------------------------------------------------

local ring_names = {}  -- field -> bytes of its records

-- Load the fields of the states that the events update, and list the rings that they use.
local function prepare()
  local names, split, needed = {}, {}, {}
  local function need(name, size)
    names[#names + 1] = name
    ring_names[name] = size
  end
  for _, event in ipairs(events) do
    for i = 2, #event, 2 do needed[event[i]] = true end
  end
  for number in pairs(needed) do
    local state = states[number]
    local base, kind, text = state[1], state[2], state[3]
    local letters = split[text]
    if not letters then
      letters = {}
      for letter in string.gmatch(text, '.') do
        letters[#letters + 1] = letter
        local ring = rings[letter]
        if ring.width > 0 and not ring.used then
          ring.used = true
          used[#used + 1] = ring
        end
      end
      split[text] = letters
    end
    state[3] = letters
    if kind == DISTINCT then
      need(base .. 'u')
    else
      for _, letter in ipairs(letters) do
        need(base .. letter, RECORD_BYTES[kind])
        if kind == MOMENTS then need(base .. upper(letter), COMPANION_BYTES) end
      end
    end
  end
  local asked = {}
  for i = 1, #events do
    local name = shard_of(hash_at(i))
    if not asked[name] then
      asked[name] = true
      need(name, ID_BYTES)
    end
  end
  if adopted > 0 then need('e', 8) end
  if mode == BACKFILL then need('b', 16) end
  load_all(names)
  for name, size in pairs(ring_names) do
    if #fields[name] % size ~= 0 then return redis.error_reply('DAMAGED field ' .. name) end
  end
end

-- Return whether a state still has a place for an event of this time.
local function covers(state, time)
  if state[2] == DISTINCT then return time > oldest_of(state) end
  for _, letter in ipairs(state[3]) do
    local ring = rings[letter]
    if ring.index >= ring.oldest then return true end
  end
  return false
end

-- Apply an event that is not known; return its outcome.
local function apply(event, id)
  local time = event[1]
  local before = reference
  reference = max(reference, min(time, now) - CLOCK_SLACK_MS)
  aim(time)
  local covered = #event == 1  -- updates no state, but makes the entity known
  for i = 2, #event, 2 do
    if covers(states[event[i]], time) then
      covered = true
      break
    end
  end
  local outcome = 1
  if not covered then
    outcome = 3
  elseif mode == 0 and time <= max(newest - horizon_ms, forgotten) then
    outcome = 4
  end
  if outcome ~= 1 then
    reference = before
    return outcome
  end
  for i = 2, #event, 2 do
    local state, value = states[event[i]], event[i + 1]
    if state[2] ~= DISTINCT then
      merge_rings(state, time, value)
    elseif time > oldest_of(state) then
      merge_distinct(state, time, hash_at(value))
    end
  end
  newest = max(newest, time)
  local stamp_ms = (mode == UNSEEN) and max(newest, now) or newest
  -- A back-fill knows its old events by their positions.
  if mode ~= BACKFILL or time > newest - horizon_ms then remember(id, ceil(stamp_ms / 1000)) end
  return 1
end

-- What an old service has written: ids to remember, sketches of its HyperLogLogs.
local function adopt()
  local ids, sets, deletes = adoption[3], adoption[4], adoption[5]
  for i = 1, #sets, 2 do store(sets[i], sets[i + 1]) end
  for _, name in ipairs(deletes) do store(name, '') end
  for at = 1, #ids, ID_BYTES do
    local id = sub(ids, at, at + 7)
    if not seen(id) then remember(id, unpack_at('<I4', ids, at + 8)) end
  end
  adopted = now
end

local SOURCE_BYTES, MARK_BYTES, MAX_MARKS = 8, 16, 8
local source, mark, marks

-- Read how far the source of a back-fill has been counted.
local function read_mark()
  source = sub(hashes, -SOURCE_BYTES)
  marks, mark = load('b'), -1
  local at = find_record(marks, source, MARK_BYTES)
  if at then
    mark = unpack_at('<d', marks, at + SOURCE_BYTES)
    marks = sub(marks, 1, at - 1) .. sub(marks, at + MARK_BYTES)
  end
end

local damaged = prepare()
if damaged then return damaged end
if adoption then adopt() end
if mode == BACKFILL then read_mark() end

local outcomes, applied, first_mark = {}, {}, mark
for i, event in ipairs(events) do
  local id = hash_at(i)
  if mode == BACKFILL and positions[i] <= mark then
    outcomes[i] = 2
  else
    outcomes[i] = seen(id) and 2 or apply(event, id)
    if outcomes[i] == 1 then applied[#applied + 1] = id end
    if mode == BACKFILL then mark = positions[i] end
  end
end

local known_before = meta ~= ''
if #applied == 0 and not adoption and (mark == first_mark or not known_before) then return outcomes end

if mode == BACKFILL and mark ~= first_mark then
  store('b', sub(marks .. source .. pack('<d', mark), -MAX_MARKS * MARK_BYTES))
end
-- Old services know the ids of new ones too, until none has written for a horizon.
local shared_ids = (adopted > 0) and load('e') or ''
if shared_ids ~= '' and now - adopted > horizon_ms then
  store('e', '')
elseif shared_ids ~= '' and #applied > 0 then
  store('e', sub(shared_ids .. table.concat(applied), -(512 + #applied) * 8))
end
if shards > 1 then
  cursor = (cursor + 1) % shards
  prune_ids('i' .. format('%d', cursor))
  if remembered < IDS_TO_MERGE * shards then merge_shard() end
end
store('m', pack('<dd', newest, reference) .. MARK)
store('n', pack(NOTES, born, forgotten, adopted, shards, max(remembered, 0), cursor, 0))

local sets, deletes = {}, {}
for name in pairs(dirty) do
  if fields[name] == '' then
    deletes[#deletes + 1] = name
  else
    sets[#sets + 1] = name
    sets[#sets + 1] = fields[name]
  end
end
for first = 1, #sets, FIELDS_PER_COMMAND do
  redis.call('HSET', key, unpack(sets, first, min(first + FIELDS_PER_COMMAND - 1, #sets)))
end
for first = 1, #deletes, FIELDS_PER_COMMAND do
  redis.call('HDEL', key, unpack(deletes, first, min(first + FIELDS_PER_COMMAND - 1, #deletes)))
end
-- An expiry is never shortened: other definitions may keep more.
local left_ms = redis.call('PTTL', key)
if ttl_ms == 0 then
  if left_ms >= 0 then redis.call('PERSIST', key) end
elseif not known_before or (left_ms >= 0 and left_ms < ttl_ms - floor(ttl_ms / 128)) then
  redis.call('PEXPIRE', key, ttl_ms)
end
return outcomes
