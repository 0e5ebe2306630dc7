-- What scripts find: Redis' globals, none of which a script can change. Gets the real globals, functions of the
-- server, and a table whose field `invoke` is the way to the server while a script runs.
local globals, host = ...
local error, pcall, xpcall, type, tostring = error, pcall, xpcall, type, tostring
local next, pairs, ipairs, rawset, rawget, setmetatable = next, pairs, ipairs, rawset, rawget, setmetatable
local getmetatable, loadstring, select = getmetatable, loadstring, select
local sub, concat = string.sub, table.concat

-- Proxy -> the table it stands for. Lua 5.1 has no read-only tables, so scripts see proxies.
local behind = setmetatable(host.proxies, { __mode = 'k' })

local function readonly()
    error('Attempt to modify a readonly table', 2)
end

local function protect(real, missing)
    local proxy = {}
    if missing then
        setmetatable(real, { __index = missing })
    end
    behind[proxy] = real
    return setmetatable(proxy, { __index = real, __newindex = readonly, __metatable = false })
end

local function check_table(t, name)
    if type(t) ~= 'table' then
        local got = t == nil and 'nil' or type(t)
        error("bad argument #1 to '" .. name .. "' (table expected, got " .. got .. ')', 3)
    end
end

local function check_function(f, name)
    if type(f) ~= 'function' then
        error("bad argument #2 to '" .. name .. "' (function expected, got " .. type(f) .. ')', 3)
    end
end

-- Functions that look into tables directly have to look behind proxies, and never hand out what is there.
function globals.next(t, k)
    check_table(t, 'next')
    return next(behind[t] or t, k)
end

function globals.pairs(t)
    check_table(t, 'pairs')
    if behind[t] then
        return globals.next, t, nil
    end
    return next, t, nil
end

function globals.rawget(t, k)
    return rawget(behind[t] or t, k)
end

function globals.rawset(t, k, v)
    if behind[t] then
        error('Attempt to modify a readonly table', 0)
    end
    return rawset(t, k, v)
end

function globals.setmetatable(t, m)
    if behind[t] then
        error('Attempt to modify a readonly table', 0)
    end
    return setmetatable(t, m)
end

-- Errors of the server's functions are objects that scripts can't look into: what catches them gives a text.
-- A script that was stopped catches nothing any more.
local function caught(ok, failure, ...)
    if ok then
        return ok, failure, ...
    end
    host.look()
    if type(failure) == 'userdata' then
        return false, host.caught(failure)
    elseif type(failure) == 'table' and type(failure.err) == 'string' then
        return false, failure.err
    end
    return false, failure, ...
end

local function uncaught(ok, ...)
    if not ok then
        host.look()
    end
    return ok, ...
end

function globals.pcall(...)
    return caught(pcall(...))
end

function globals.xpcall(f, handler)
    return uncaught(xpcall(f, function(failure)
        -- Nothing looks at the clock while this handles the error of a script that was stopped.
        if host.is_stopped() then
            return failure
        end
        if type(failure) == 'userdata' then
            failure = host.handled(failure)
        end
        return handler(failure)
    end))
end

-- Each coroutine counts its instructions anew, so the clock is looked at whenever one goes on.
local create, resume = coroutine.create, coroutine.resume
function globals.coroutine.resume(...)
    host.look()
    return caught(resume(...))
end

local function unwrapped(ok, failure, ...)
    if ok then
        return failure, ...
    end
    error(failure, type(failure) == 'string' and 3 or 0)
end

function globals.coroutine.wrap(f)
    if type(f) ~= 'function' then
        error("bad argument #1 to 'wrap' (Lua function expected)", 2)
    end
    local thread = create(f)
    return function(...)
        host.look()
        return unwrapped(resume(thread, ...))
    end
end

-- No bytecode: a forged one could do anything.
local function compile(text, name)
    if sub(text, 1, 1) == '\27' then
        return nil, 'bytecode is not allowed'
    end
    return loadstring(text, name)
end

function globals.loadstring(text, name)
    return compile(tostring(text), name)
end

function globals.load(reader, name)
    local pieces = {}
    while true do
        local piece = reader()
        if piece == nil or piece == '' then
            break
        end
        pieces[#pieces + 1] = piece
    end
    return compile(concat(pieces), name or '=(load)')
end

local redis = host.server

function redis.error_reply(text)
    if type(text) ~= 'string' then
        return { err = 'ERR wrong number or type of arguments' }
    end
    if sub(text, 1, 1) == '-' then
        return { err = sub(text, 2) }
    elseif string.find(text, ' ', 1, true) then
        return { err = text }
    end
    return { err = 'ERR ' .. text }
end

function redis.status_reply(text)
    if type(text) ~= 'string' then
        return { err = 'ERR wrong number or type of arguments' }
    end
    return { ok = text }
end

function redis.replicate_commands()
    return true
end

function redis.breakpoint()
    return false
end

function redis.debug() end

redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING = 0, 1, 2, 3
redis.REPL_NONE, redis.REPL_AOF, redis.REPL_SLAVE, redis.REPL_REPLICA, redis.REPL_ALL = 0, 1, 2, 2, 3
redis.REDIS_VERSION, redis.REDIS_VERSION_NUM = host.version, host.version_number
globals.redis = redis

-- What libraries find while they are loaded, and nothing else.
local loading = { register_function = redis.register_function, log = redis.log }
for name, value in next, redis do
    if type(value) ~= 'function' and sub(name, 1, 4) ~= 'REPL' then
        loading[name] = value
    end
end
redis.register_function = nil

-- What searches on, and what calls scripts for each match, is here: errors pass through as they are.
local next_match = host.next_match
function globals.string.gmatch(...)
    local s, p = host.gmatch(...)
    local from = 0
    local function went_on(start, after, ...)
        if start then
            from = after > start and after or after + 1
            return ...
        end
    end
    return function()
        if from <= #s then
            return went_on(next_match(s, p, from))
        end
    end
end
globals.string.gfind = globals.string.gmatch

local function substitute(s, p, with, count_max)
    local is_anchored = sub(p, 1, 1) == '^'
    local pieces, from, count = {}, 0, 0
    local function replaced(start, after, first, ...)
        if not start then
            return false
        end
        local value
        if type(with) == 'function' then
            value = with(first, ...)
        else
            value = with[first]
        end
        if not value then
            value = sub(s, start + 1, after)
        elseif type(value) ~= 'string' and type(value) ~= 'number' then
            host.raise('invalid replacement value (a ' .. type(value) .. ')')
        end
        pieces[#pieces + 1] = sub(s, from + 1, start)
        pieces[#pieces + 1] = value
        from = after
        if after == start then
            pieces[#pieces + 1] = sub(s, start + 1, start + 1)
            from = from + 1
        end
        return true
    end
    while count < count_max and from <= #s and replaced(next_match(s, p, from, is_anchored)) do
        count = count + 1
        if is_anchored then
            break
        end
    end
    pieces[#pieces + 1] = sub(s, from + 1)
    return concat(pieces), count
end

local function substituted(with, text, s, p, count_max)
    if text then
        return text, s
    end
    return substitute(s, p, with, count_max)
end

function globals.string.gsub(...)
    return substituted((select(3, ...)), host.gsub(...))
end

-- Sorts as Lua's own does, with the same order of what is equal, but can be stopped: with such a comparison, or such an
-- order to begin with, sorting may take as long as anybody likes.
local function out_of_order()
    host.raise('invalid order function for sorting')
end

local function sort(t, low, high, less)
    while low < high do
        if less(t[high], t[low]) then
            t[low], t[high] = t[high], t[low]
        end
        if high - low == 1 then
            break
        end
        local middle = (low + high - (low + high) % 2) / 2
        if less(t[middle], t[low]) then
            t[middle], t[low] = t[low], t[middle]
        elseif less(t[high], t[middle]) then
            t[middle], t[high] = t[high], t[middle]
        end
        if high - low == 2 then
            break
        end
        local pivot = t[middle]
        t[middle], t[high - 1] = t[high - 1], pivot
        local left, right = low, high - 1
        while true do
            left = left + 1
            while less(t[left], pivot) do
                if left > high then
                    out_of_order()
                end
                left = left + 1
            end
            right = right - 1
            while less(pivot, t[right]) do
                if right < low then
                    out_of_order()
                end
                right = right - 1
            end
            if right < left then
                break
            end
            t[left], t[right] = t[right], t[left]
        end
        t[high - 1], t[left] = t[left], t[high - 1]
        -- The smaller part first: depth stays small.
        if left - low < high - left then
            sort(t, low, left - 1, less)
            low = left + 1
        else
            sort(t, left + 1, high, less)
            high = left - 1
        end
    end
end

local function ascending(a, b)
    return a < b
end

function globals.table.sort(t, less)
    check_table(t, 'sort')
    if less ~= nil then
        check_function(less, 'sort')
    end
    local ok, failure = pcall(sort, t, 1, #t, less or ascending)
    if ok then
        return
    end
    -- Where in this file it went wrong is nobody's business.
    if type(failure) == 'string' then
        failure = host.gsub(failure, '^redis:%d+: ', '')
    end
    error(failure, 0)
end

-- Here, too, so that they can be stopped: what is called for each element may be a function that nothing looks into.
function globals.table.foreach(t, f)
    check_table(t, 'foreach')
    check_function(f, 'foreach')
    for key, value in next, behind[t] or t do
        local result = f(key, value)
        if result ~= nil then
            return result
        end
    end
end

function globals.table.foreachi(t, f)
    check_table(t, 'foreachi')
    check_function(f, 'foreachi')
    for index = 1, #t do
        local result = f(index, rawget(t, index))
        if result ~= nil then
            return result
        end
    end
end

globals.math.random = host.random
globals.math.randomseed = host.seed
globals.__redis__err__handler = host.failed

for _, name in ipairs {
    'dofile', 'loadfile', 'print', 'getfenv', 'setfenv', 'newproxy', 'module', 'require', 'package', 'os', 'io', 'debug',
    'collectgarbage', 'gcinfo',
} do
    globals[name] = nil
end
-- Harmless to ask for, not to command: a collection is the server's business.
function globals.collectgarbage(what)
    if what == 'count' then
        return host.used_kilobytes()
    end
    return 0
end
globals.gcinfo = host.used_kilobytes

for name, value in next, globals do
    if type(value) == 'table' and value ~= globals then
        globals[name] = protect(value)
    end
end
getmetatable('').__index = globals.string
getmetatable('').__metatable = false

local function nonexistent(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

local sandbox = protect(globals, nonexistent)
globals._G = sandbox

-- The globals of libraries: those of scripts, except while one is loaded.
local seen = { __index = sandbox }
local overlay = setmetatable({}, seen)
local library_globals = setmetatable({}, { __index = overlay, __newindex = readonly, __metatable = false })
loading = protect(loading, nonexistent)

local function set_loading(is_loading)
    overlay.redis = is_loading and loading or nil
    seen.__index = is_loading and nonexistent or sandbox
end

-- Runs a compiled script, or a function with its two arguments.
local failed = host.failed
local function run(script, keys, arguments)
    if not keys then
        return xpcall(script, failed)
    end
    return xpcall(function()
        return script(keys, arguments)
    end, failed)
end

return sandbox, run, library_globals, set_loading
