
-- The call -----------------------------------------------------------------------------------------

-- Apply an event that is not known; return its outcome.
local function apply(event, id)
  local time = event[1]
  local before = reference
  reference = max(reference, min(time, now) - CLOCK_SLACK_MS)
  for i = 1, #limited do
    local ring = limited[i]
    ring.index = floor(time / ring.width)
    ring.bytes = pack('<I4', ring.index)
    ring.oldest = floor(reference / ring.width) - ring.buckets + 1
  end
  local covered = #event == 1  -- updates no state, but makes the entity known
  for i = 2, #event, 2 do
    if covered then break end
    local state = states[event[i]]
    if state[2] == DISTINCT then
      covered = time > oldest_of(state)
    else
      for _, ring in ipairs(state.rings) do covered = covered or ring.index >= ring.oldest end
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
      merge_distinct(state, time, sub(hashes, value * 8 - 7, value * 8))
    end
  end
  newest = max(newest, time)
  if mode == BACKFILL and time <= newest - horizon_ms then
    -- The back-fill knows it by its position; a service with a longer horizon must not count it.
    forgotten = max(forgotten, time)
  else
    -- What was not seen may come again for a horizon of the clock, and events may be ahead of it.
    local stamp_ms = (mode == UNSEEN) and max(newest, now + CLOCK_SLACK_MS) or newest
    remember(id, math.ceil(stamp_ms / 1000))
  end
  return 1
end

-- Take over what an old service has written: ids, and sketches of its HyperLogLogs.
if is_adoption then
  local ids, last_set = ARGV[6], 7 + 2 * tonumber(ARGV[7])
  for i = 8, last_set, 2 do store(ARGV[i], ARGV[i + 1]) end
  for i = last_set + 1, #ARGV do store(ARGV[i], '') end
  for at = 1, #ids, ID_BYTES do
    local id = sub(ids, at, at + 7)
    if not seen(id) then remember(id, unpack_at('<I4', ids, at + 8)) end
  end
  adopted = now
end
if shares_ids then adopted = now end

-- How far the source of a back-fill has been counted.
local SOURCE_BYTES, MARK_BYTES, MAX_MARKS = 8, 16, 8
local source, marks, mark, first_mark
if mode == BACKFILL then
  source = sub(hashes, -SOURCE_BYTES)
  marks, mark = fields.b, -1
  local at = find_record(marks, source, MARK_BYTES)
  if at then
    mark = unpack_at('<d', marks, at + SOURCE_BYTES)
    marks = sub(marks, 1, at - 1) .. sub(marks, at + MARK_BYTES)
  end
  first_mark = mark
end

local outcomes, applied = {}, {}
for i = 1, #events do
  local id, outcome = sub(hashes, i * 8 - 7, i * 8), 2
  if mode ~= BACKFILL or positions[i] > mark then
    if not seen(id) then outcome = apply(events[i], id) end
    if outcome == 1 then applied[#applied + 1] = id end
    if mode == BACKFILL then mark = positions[i] end
  end
  outcomes[i] = outcome
end

-- A position is news too, except of an entity of which nothing counts.
local is_changed = #applied > 0 or is_adoption or (mark ~= first_mark and meta ~= '')
if not is_changed then return outcomes end

if mark ~= first_mark then
  store('b', sub(marks .. source .. pack('<d', mark), -MAX_MARKS * MARK_BYTES))
end
if adopted > 0 and now - adopted > horizon_ms then
  store('e', '')
  adopted = 0
elseif adopted > 0 and #applied > 0 then
  -- Old services know the ids of new ones too, until none has written for a horizon.
  store('e', sub(load('e') .. table.concat(applied), -(512 + #applied) * 8))
end
-- One shard is pruned in a call, and more where nothing is left of it: a burst has passed.
for _ = 1, SHARDS_TO_PRUNE do
  if shards == 1 then break end
  cursor = (cursor + 1) % shards
  local name = shard_name(cursor)
  prune_ids(name)
  local is_empty = fields[name] == ''
  if remembered < IDS_TO_MERGE * shards then merge_shard() end
  if not is_empty then break end
end

-- An expiry is never shortened: other definitions may keep more.
local expire_ms
if ttl_ms == 0 then
  if kept ~= FOREVER then expire_ms, kept = 0, FOREVER end
elseif kept ~= FOREVER then
  local left_ms = redis.call('PTTL', key)
  if meta == '' or (left_ms >= 0 and left_ms < ttl_ms - floor(ttl_ms / 128)) then expire_ms = ttl_ms end
end

local sets = {
  'm', pack('<dd', newest, reference) .. MARK,
  'n', pack(NOTES, born, forgotten, adopted, shards, remembered, cursor, kept),
}
local deletes = {}
for name in pairs(dirty) do
  local text = fields[name]
  if text == '' then
    deletes[#deletes + 1] = name
  else
    local n = #sets
    sets[n + 1], sets[n + 2] = name, text
  end
end
for first = 1, #sets, FIELDS_PER_COMMAND do
  redis.call('HSET', key, unpack(sets, first, min(first + FIELDS_PER_COMMAND - 1, #sets)))
end
for first = 1, #deletes, FIELDS_PER_COMMAND do
  redis.call('HDEL', key, unpack(deletes, first, min(first + FIELDS_PER_COMMAND - 1, #deletes)))
end
if expire_ms == 0 then
  redis.call('PERSIST', key)
elseif expire_ms then
  redis.call('PEXPIRE', key, expire_ms)
end
return outcomes
