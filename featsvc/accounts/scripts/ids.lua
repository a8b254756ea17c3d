-- Event ids: linear hashing over the fields i0, i1, ... -------------------------------------------

local ID_BYTES, IDS_PER_SHARD, IDS_TO_MERGE = 12, 48, 12

-- Return the largest power of two that is not above a number.
local function power_below(number)
  local power = 1
  while power * 2 <= number do power = power * 2 end
  return power
end

local level = power_below(shards)

local function shard_of(id)
  local shard = unpack_at('<I4', id) % (2 * level)
  if shard >= shards then shard = shard - level end
  return 'i' .. format('%d', shard)
end

local function seen(id) return find_record(load(shard_of(id)), id, ID_BYTES) ~= nil end

-- Forget the ids of a shard that the horizon has passed; they are in the order of their stamps.
local function prune_ids(name)
  local text, from = load(name), 1
  while from < #text and unpack_at('<I4', text, from + 8) * 1000 <= newest - horizon_ms do
    from = from + ID_BYTES
  end
  if from > 1 then
    store(name, sub(text, from))
    remembered = remembered - (from - 1) / ID_BYTES
    forgotten = max(forgotten, newest - horizon_ms)
  end
end

-- Split one shard in two: a step of growth never costs more than that.
local function split_shard()
  local name = 'i' .. format('%d', shards - level)
  local text, kept, moved = load(name), {}, {}
  for at = 1, #text, ID_BYTES do
    local id = sub(text, at, at + ID_BYTES - 1)
    if unpack_at('<I4', id) % (2 * level) < level then
      kept[#kept + 1] = id
    else
      moved[#moved + 1] = id
    end
  end
  store(name, table.concat(kept))
  store('i' .. format('%d', shards), table.concat(moved))
  shards = shards + 1
  if shards == 2 * level then level = shards end
end

local function merge_shard()
  local last = shards - 1
  local below = power_below(last)
  local name, other = 'i' .. format('%d', last), 'i' .. format('%d', last - below)
  store(other, load(other) .. load(name))
  store(name, '')
  shards, level = last, below
end

local function remember(id, stamp_s)
  local name = shard_of(id)
  prune_ids(name)
  store(name, load(name) .. id .. pack('<I4', stamp_s))
  remembered = remembered + 1
  if remembered > IDS_PER_SHARD * shards then split_shard() end
end
