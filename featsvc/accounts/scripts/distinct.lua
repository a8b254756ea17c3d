
-- Distinct counts: a list of the members seen last, sketches of the others --------------------------

-- Sketches, created when a call needs them.
local sketches
local function new_sketches()
  local byte, char, format = string.byte, string.char, string.format

  -- MurmurHash64A in limbs of 16 bits, as PFADD hashes a member of 8 bytes: times 0xc6a4a7935bd1e995.
  local function multiply(a, b, c, d)
    local r0 = a * 59797
    local r1 = a * 23505 + b * 59797 + floor(r0 / 65536)
    local r2 = a * 42899 + b * 23505 + c * 59797 + floor(r1 / 65536)
    local r3 = a * 50852 + b * 42899 + c * 23505 + d * 59797 + floor(r2 / 65536)
    return r0 % 65536, r1 % 65536, r2 % 65536, r3 % 65536
  end

  local function fold_top(a, b, c, d)  -- x ^ (x >> 47)
    local top = d * 2 + floor(c / 32768)
    return bit.bxor(a, top % 65536), bit.bxor(b, floor(top / 65536)), c, d
  end

  -- Return the register and the rank of a member.
  local function position_of(member)
    local a, b, c, d = fold_top(multiply(unpack_at('<I2I2I2I2', member)))
    a, b, c, d = multiply(a, b, c, d)
    a, b, c, d = multiply(bit.bxor(a, 30641), bit.bxor(b, 29511), bit.bxor(c, 15514), bit.bxor(d, 13605))
    a, b, c, d = fold_top(multiply(fold_top(a, b, c, d)))
    local rank, bits, left = 1, floor(a / 2048), 5
    for _, limb in ipairs({b, c, d, 1}) do
      if bits ~= 0 then break end
      rank, bits, left = rank + left, limb, 16
    end
    while bits % 2 == 0 do rank, bits = rank + 1, bits / 2 end
    return a % 2048, rank
  end

  local REGISTERS, DENSE_BYTES, SPARSE_BYTES = 2048, 1536, 3

  local function dense(sparse)
    local ranks = {}
    for at = 1, #sparse, SPARSE_BYTES do
      local register, rank = unpack_at('<I2B', sparse, at)
      ranks[register] = rank
    end
    local groups = {}
    for first = 0, REGISTERS - 1, 4 do
      local bits = (ranks[first] or 0) + (ranks[first + 1] or 0) * 64 +
                   (ranks[first + 2] or 0) * 4096 + (ranks[first + 3] or 0) * 262144
      groups[#groups + 1] = char(bits % 256, floor(bits / 256) % 256, floor(bits / 65536))
    end
    return table.concat(groups)
  end

  -- Return the sketch with a member, or nil if it does not change.
  local function raise(sketch, register, rank)
    if #sketch ~= DENSE_BYTES then
      local at = find_record(sketch, pack('<I2', register), SPARSE_BYTES)
      if at then
        if byte(sketch, at + 2) >= rank then return nil end
        return sub(sketch, 1, at + 1) .. char(rank) .. sub(sketch, at + 3)
      end
      sketch = sketch .. pack('<I2B', register, rank)
      return (#sketch >= DENSE_BYTES) and dense(sketch) or sketch
    end
    local at, unit = floor(register / 4) * 3 + 1, 64 ^ (register % 4)
    local a, b, c = byte(sketch, at, at + 2)
    local bits = a + b * 256 + c * 65536
    local kept = floor(bits / unit) % 64
    if kept >= rank then return nil end
    bits = bits + (rank - kept) * unit
    return sub(sketch, 1, at - 1) .. char(bits % 256, floor(bits / 256) % 256, floor(bits / 65536)) ..
           sub(sketch, at + 3)
  end

  local BUCKET_BYTES = 4

  -- Add a member to the sketches of the buckets in which it was seen last.
  local function add_to_sketches(state, time, member)
    local register, rank
    for k, ring in ipairs(state.rings) do
      local letter = sub(state[3], k, k)
      local index = (ring.width > 0) and floor(time / ring.width) or 0
      if index >= ring.oldest then
        local list = state[1] .. letter .. '#'
        local name = list .. format('%d', index)
        local listed, sketch = load(list), load(name)
        if sketch == '' then
          local bucket = {index = index, bytes = pack('<I4', index), oldest = ring.oldest}
          local at, found = locate(listed, BUCKET_BYTES, bucket)
          for gone = 1, at - 1, BUCKET_BYTES do
            local old = unpack_at('<I4', listed, gone)
            if old >= ring.oldest then break end
            store(list .. format('%d', old), '')
          end
          if not found then insert(list, listed, at, BUCKET_BYTES, bucket.bytes, bucket) end
        end
        if not register then register, rank = position_of(member) end
        sketch = raise(sketch, register, rank)
        if sketch then store(name, sketch) end
      end
    end
  end

  -- Drop the sketches of a state: every evicted member has left the longest window.
  local function drop_sketches(state)
    for k = 1, #state.rings do
      local list = state[1] .. sub(state[3], k, k) .. '#'
      local listed = load(list)
      for at = 1, #listed, BUCKET_BYTES do
        store(list .. format('%d', unpack_at('<I4', listed, at)), '')
      end
      if listed ~= '' then store(list, '') end
    end
  end

  return {add = add_to_sketches, drop = drop_sketches}
end

local MEMBER_BYTES, HEADER_BYTES = 16, 8

local function oldest_of(state) return (state[5] > 0) and (reference - state[5]) or -1 end

-- Update a member's last-seen time.
local function merge_distinct(state, time, member)
  local cap, oldest = state[4], oldest_of(state)
  local name = state[1] .. 'u'
  local text = load(name)
  if text == '' then text = pack('<d', 0) end
  local evicted = unpack_at('<d', text)
  local was_saturated = evicted > max(oldest, 0)
  if evicted > 0 and evicted <= oldest then
    sketches = sketches or new_sketches()
    sketches.drop(state)
    evicted = 0
  end
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
  while #text > cap * MEMBER_BYTES do
    local seen_ms = unpack_at('<d', text, 9)
    sketches = sketches or new_sketches()
    sketches.add(state, seen_ms, sub(text, 1, 8))
    evicted = max(evicted, seen_ms)
    text = sub(text, MEMBER_BYTES + 1)
  end
  store(name, pack('<d', evicted) .. text)
  if adopted > 0 and evicted > max(oldest, 0) then
    -- An old service takes it that the members of the list have been sketched, and evicts them.
    sketches = sketches or new_sketches()
    if was_saturated then
      sketches.add(state, time, member)
    else
      for first = 1, #text, MEMBER_BYTES do
        sketches.add(state, unpack_at('<d', text, first + 8), sub(text, first, first + 7))
      end
    end
  end
end
