-- The sliding window of shared/limits/memory.py, in Redis: the same answers, for many steps in one go.
--
-- KEYS[i] and the i-th record of ARGV[2] are a step; ARGV[1] is how long a key lives after its newest hit, in ms.
-- The value of a key is the instants of its counted hits, 8 bytes each (a big-endian double), oldest first.
-- Hits that have left the window stay at the front until there are CUT_AT of them, so that a hit is an APPEND.

local WINDOW_S, STEP_BACK_S, CUT_AT, BYTES = 60, 1, 64, 8
local STEP, ANSWER = '>ddi8i8i8', '>i8i8i8i8'
local COUNT, PEEK, TAKE_BACK = 0, 1, 2

local ttl_ms = tonumber(ARGV[1])
local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min
local call, pack, unpack = redis.call, struct.pack, struct.unpack

local function instant_at(key, front, index)
  if index < CUT_AT then
    return (unpack('>d', front, index * BYTES + 1))
  end
  return (unpack('>d', call('GETRANGE', key, index * BYTES, index * BYTES + BYTES - 1)))
end

-- How many instants are at most `edge`, by bisection. Usually none has left, or a few at the front.
local function count_until(key, front, n, edge)
  local low, high = 0, n
  if instant_at(key, front, 0) > edge then
    return 0
  end
  if n > CUT_AT and instant_at(key, front, CUT_AT - 1) > edge then
    high = CUT_AT - 1
  end
  while low < high do
    local middle = floor((low + high) / 2)
    if instant_at(key, front, middle) <= edge then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- What time it is for a key, and by how much that is ahead of the caller. A key's hits stay in order: a caller
-- whose clock is a little behind the newest hit counts at that instant. One that is further behind is another
-- computer, or was set back: then the time that has passed since the newest hit is taken from the key's age.
local function time_of(key, now, newest)
  if now >= newest then
    return now, 0
  end
  if newest - now < STEP_BACK_S then
    return newest, 0
  end
  local left_ms = call('PTTL', key)
  local age_s = left_ms >= 0 and max(0, ttl_ms - left_ms) / 1000 or 0
  return newest + age_s, newest + age_s - now
end

local function refuse(limit, remaining, now, ahead_s, full_at, passes_at)
  return pack(ANSWER, 0, max(0, remaining), ceil(full_at - ahead_s), max(1, ceil(passes_at - now)))
end

local function hit(key, now, limit, cost, kind)
  local n = call('STRLEN', key) / BYTES
  local head, newest, ahead_s, front = 0, now, 0, ''
  if n > 0 then
    front = call('GETRANGE', key, 0, CUT_AT * BYTES - 1)
    if n <= CUT_AT then
      newest = unpack('>d', front, (n - 1) * BYTES + 1)
    else
      newest = unpack('>d', call('GETRANGE', key, -BYTES, -1))
    end
    now, ahead_s = time_of(key, now, newest)
    head = count_until(key, front, n, now - WINDOW_S)
  end
  local counted = n - head
  if counted + cost > limit then
    if n > 0 and call('PTTL', key) < 0 then
      call('PEXPIRE', key, ttl_ms)
    end
    if counted == 0 then
      return refuse(limit, limit, now, ahead_s, now + WINDOW_S, now + WINDOW_S)
    end
    local full_at = newest + WINDOW_S
    local passes_at = full_at
    -- The hit whose leaving makes room. After a limit was lowered that is not the oldest one.
    local last_to_leave = n + cost - limit - 1
    if last_to_leave < n then
      passes_at = instant_at(key, front, last_to_leave) + WINDOW_S
    end
    return refuse(limit, limit - counted, now, ahead_s, full_at, passes_at)
  end
  if kind == COUNT then
    local hits = pack('>d', now):rep(cost)
    if counted == 0 then
      call('SET', key, hits, 'PX', ttl_ms)
    elseif head >= CUT_AT then
      call('SET', key, call('GETRANGE', key, head * BYTES, -1) .. hits, 'PX', ttl_ms)
    else
      call('APPEND', key, hits)
      call('PEXPIRE', key, ttl_ms)
    end
  end
  return pack(ANSWER, 1, limit - counted - cost, ceil(now + WINDOW_S - ahead_s), 0)
end

local function take_back(key, now, at, cost)
  local hits = call('GET', key)
  if hits and at > now - WINDOW_S then
    local n = #hits / BYTES
    local front = hits:sub(1, CUT_AT * BYTES)
    local key_now, ahead_s = time_of(key, now, (unpack('>d', hits, (n - 1) * BYTES + 1)))
    -- The first that is not older than `at`: one that came out of order was counted later, never earlier.
    local first = count_until(key, front, n, key_now - WINDOW_S)
    while first < n and unpack('>d', hits, first * BYTES + 1) < at + ahead_s do
      first = first + 1
    end
    if ahead_s > 0 then
      -- The two clocks are compared to the millisecond at best: it may just have been missed.
      first = max(0, min(first, n - cost))
    end
    local left = hits:sub(1, first * BYTES) .. hits:sub((first + cost) * BYTES + 1)
    local left_ms = call('PTTL', key)
    if #left == 0 then
      call('DEL', key)
    elseif #left < #hits then
      call('SET', key, left, 'PX', left_ms > 0 and left_ms or ttl_ms)
    end
  end
  return pack(ANSWER, 1, 0, 0, 0)
end

local answers, position = {}, 1
for i, key in ipairs(KEYS) do
  local now, at, limit, cost, kind
  now, at, limit, cost, kind, position = unpack(STEP, ARGV[2], position)
  if kind == TAKE_BACK then
    answers[i] = take_back(key, now, at, cost)
  else
    answers[i] = hit(key, now, limit, cost, kind)
  end
end
return table.concat(answers)
