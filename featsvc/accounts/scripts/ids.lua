
-- Event ids: linear hashing over the fields i0, i1, ... --------------------------------------------

local ID_BYTES, IDS_PER_SHARD, IDS_TO_MERGE = 12, 48, 12
local SHARDS_TO_PRUNE = 32  -- at most, in a call

local level = 1  -- the largest power of two that is not above the number of shards
while level * 2 <= shards do level = level * 2 end

local function shard_name(number) return 'i' .. string.format('%d', number) end

local function shard_of(id)
  if shards == 1 then return 'i0' end
  local shard = unpack_at('<I4', id) % (2 * level)
  if shard >= shards then shard = shard - level end
  return shard_name(shard)
end

local function seen(id) return find_record(load(shard_of(id)), id, ID_BYTES) ~= nil end

-- Forget the ids of a shard that the horizon has passed. They are in the order of their stamps.
local function prune_ids(name)
  local text, from = load(name), 1
  while from < #text and unpack_at('<I4', text, from + 8) * 1000 <= newest - horizon_ms do
    from = from + ID_BYTES
  end
  if from > 1 then
    store(name, sub(text, from))
    remembered = max(remembered - (from - 1) / ID_BYTES, 0)
    forgotten = max(forgotten, newest - horizon_ms)
  end
end

-- Split one shard in two, so that no event pays for the growth of all.
local function split_shard()
  local name = shard_name(shards - level)
  local text, stay, move = load(name), {}, {}
  for at = 1, #text, ID_BYTES do
    local part = (unpack_at('<I4', text, at) % (2 * level) < level) and stay or move
    part[#part + 1] = sub(text, at, at + ID_BYTES - 1)
  end
  store(name, table.concat(stay))
  store(shard_name(shards), table.concat(move))
  shards = shards + 1
  if shards == 2 * level then level = shards end
end

local function merge_shard()
  local last = shards - 1
  if level == shards then level = level / 2 end
  local name, other = shard_name(last), shard_name(last - level)
  prune_ids(name)
  prune_ids(other)
  store(other, load(other) .. load(name))
  store(name, '')
  shards = last
end

local function remember(id, stamp_s)
  local name = shard_of(id)
  prune_ids(name)
  store(name, fields[name] .. id .. pack('<I4', stamp_s))
  remembered = remembered + 1
  if remembered > IDS_PER_SHARD * shards then split_shard() end
end
