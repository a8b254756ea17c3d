
-- Rings of buckets ---------------------------------------------------------------------------------

-- Return the position of the bucket's record and true, or the position where it belongs.
local function locate(text, size, ring)
  local at = #text - size + 1
  while at >= 1 do
    local index = unpack_at('<I4', text, at)
    if index == ring.index then return at, true end
    if index < ring.index then break end
    at = at - size
  end
  return at + size, false
end

-- Insert a record, and drop those of buckets that have left the ring.
local function insert(name, text, at, size, record, ring)
  local from = 1
  while from < at and unpack_at('<I4', text, from) < ring.oldest do from = from + size end
  store(name, sub(text, from, at - 1) .. record .. sub(text, at))
end

-- Sums and moments, which are compensated: created when a call needs them.
local compensated
local function new_compensated()
  local abs, sqrt = math.abs, math.sqrt
  local CARRY = 2 ^ 1023

  -- Return what the companion of a ring holds of the bucket: two numbers.
  local function companion(name, ring)
    local text = load(name)
    local at, found = locate(text, COMPANION_BYTES, ring)
    if not found then return 0, 0 end
    local _, a, b = unpack_at('<I4dd', text, at)
    return a, b
  end

  local function set_companion(name, ring, a, b)
    local text = load(name)
    local at, found = locate(text, COMPANION_BYTES, ring)
    local record = ring.bytes .. pack('<dd', a, b)
    if found then
      store(name, sub(text, 1, at - 1) .. record .. sub(text, at + COMPANION_BYTES))
    elseif a ~= 0 or b ~= 0 then
      insert(name, text, at, COMPANION_BYTES, record, ring)
    end
  end

  -- Return a + b and the error of that sum (Knuth, The Art of Computer Programming 2, 4.2.2).
  local function two_sum(a, b)
    local total = a + b
    local part = total - a
    return total, (a - (total - part)) + (b - part)
  end

  local function add_to_sum(name, ring, high, value)
    local total, lost = two_sum(high, value)
    local carried = 0
    if abs(total) == math.huge and abs(high) ~= math.huge then
      carried = (value > 0) and 2 or -2
      total, lost = two_sum(high - carried / 2 * CARRY, value - carried / 2 * CARRY)
    end
    if (lost ~= 0 and lost == lost) or carried ~= 0 then
      local low, carry = companion(name, ring)
      set_companion(name, ring, low + lost, carry + carried)
    end
    return pack('<d', total)
  end

  local function is_normal(square) return square > 1e-280 and square < 1e290 end

  -- Welford's update with a compensated mean. The root of the squared deviations is kept where they
  -- leave the range of a double, times 2^-20, as it may leave it too. Quarters keep differences
  -- within it.
  local function add_to_moments(name, ring, n, mean, square, value)
    local low, root = companion(name, ring)
    if is_normal(square) or root == 0 then root = 2 ^ -20 * sqrt(square) end
    n = min(n + 1, U32_MAX)
    local before = (value / 4 - mean / 4) - low / 4
    local lost
    mean, lost = two_sum(mean, 4 * (before / n))
    mean, low = two_sum(mean, low + lost)
    local after = (value / 4 - mean / 4) - low / 4
    square = square + 16 * before * after
    local step = 2 ^ -18 * sqrt(abs(before)) * sqrt(abs(after))
    local big, small = max(root, step), min(root, step)
    if big > 0 then root = big * sqrt(1 + (small / big) ^ 2) end
    if is_normal(square) then root = 0 end
    set_companion(name, ring, low, root)
    return pack('<I4dd', n, mean, square)
  end

  return {sum = add_to_sum, moments = add_to_moments}
end

-- Return the payload of a bucket's first event.
local function first_payload(kind, time, value)
  if kind == COUNT then return '\1\0\0\0' end
  if kind == MOMENTS then return pack('<I4dd', 1, value, 0) end
  if kind == FIRST or kind == LAST then return pack('<dd', time, value) end
  return pack('<d', value)
end

-- Return the payload of the record at a position, with one more event; not of a count.
local function merged_payload(kind, text, at, time, value, state, k, ring)
  if kind == SUM or kind == MOMENTS then
    compensated = compensated or new_compensated()
    local companion_name = state[1] .. string.upper(sub(state[3], k, k))
    if kind == SUM then
      return compensated.sum(companion_name, ring, unpack_at('<d', text, at + 4), value)
    end
    local n, mean, square = unpack_at('<I4dd', text, at + 4)
    return compensated.moments(companion_name, ring, n, mean, square, value)
  end
  if kind == MIN or kind == MAX then
    local kept = unpack_at('<d', text, at + 4)
    return pack('<d', (kind == MIN) and min(kept, value) or max(kept, value))
  end
  local kept_ms, kept = unpack_at('<dd', text, at + 4)
  -- Among equal times FIRST keeps the first arrival, LAST the last.
  if (kind == FIRST and kept_ms <= time) or (kind == LAST and kept_ms > time) then
    time, value = kept_ms, kept
  end
  return pack('<dd', time, value)
end

-- Merge an event into the rings of a state that still cover its time.
local function merge_rings(state, time, value)
  local kind, own, own_names = state[2], state.rings, state.names
  local size = RECORD_BYTES[kind]
  for k = 1, #own do
    local ring, name = own[k], own_names[k]
    if ring.index >= ring.oldest then
      local text = fields[name]
      local at = #text - size + 1
      local found = at >= 1 and sub(text, at, at + 3) == ring.bytes
      if not found then at, found = locate(text, size, ring) end
      if not found then
        insert(name, text, at, size, ring.bytes .. first_payload(kind, time, value), ring)
      else
        local payload
        if kind == COUNT then
          payload = pack('<I4', min(unpack_at('<I4', text, at + 4) + 1, U32_MAX))
        elseif kind == SUM then
          -- Mostly the sum is exact, which two_sum below would find out more slowly.
          local high = unpack_at('<d', text, at + 4)
          local total = high + value
          local part = total - high
          local is_exact = (high - (total - part)) + (value - part) == 0
          payload = is_exact and pack('<d', total)
        end
        payload = payload or merged_payload(kind, text, at, time, value, state, k, ring)
        local rest = at + size
        -- Mostly it is the newest record: nothing follows, and no copy of nothing is made.
        dirty[name] = true
        fields[name] = (rest > #text) and sub(text, 1, at + 3) .. payload or
                       sub(text, 1, at + 3) .. payload .. sub(text, rest)
      end
    end
  end
end
