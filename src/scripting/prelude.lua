-- What scripts find: Redis' globals, none of which a script can change. Gets the real globals, functions of the
-- server, and a table whose field `invoke` is the way to the server while a script runs.
local globals, host = ...
local error, pcall, xpcall, type, tostring = error, pcall, xpcall, type, tostring
local next, pairs, ipairs, rawset, rawget, setmetatable = next, pairs, ipairs, rawset, rawget, setmetatable
local getmetatable, loadstring, load, unpack, select = getmetatable, loadstring, load, unpack, select
local sub, concat = string.sub, table.concat

-- Proxy -> the table it stands for. Lua 5.1 has no read-only tables, so scripts see proxies.
local behind = setmetatable({}, { __mode = 'k' })

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

-- Functions that look into tables directly have to look behind proxies.
function globals.next(t, k)
    return next(behind[t] or t, k)
end

function globals.pairs(t)
    return next, behind[t] or t, nil
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
    host.go_on()
    if type(failure) == 'userdata' then
        return false, host.caught(failure)
    elseif type(failure) == 'table' and type(failure.err) == 'string' then
        return false, failure.err
    end
    return false, failure, ...
end

local function uncaught(ok, ...)
    if not ok then
        host.go_on()
    end
    return ok, ...
end

function globals.pcall(...)
    return caught(pcall(...))
end

function globals.xpcall(f, handler)
    return uncaught(xpcall(f, function(failure)
        if type(failure) == 'userdata' then
            failure = host.handled(failure)
        end
        return handler(failure)
    end))
end

local resume = coroutine.resume
function globals.coroutine.resume(...)
    return caught(resume(...))
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

-- Runs a compiled script. What a script has left in a proxy behind its protection is removed.
local failed = host.failed
local function run(script, ...)
    local count, arguments = select('#', ...), { ... }
    if count == 0 then
        return xpcall(script, failed)
    end
    return xpcall(function()
        return script(unpack(arguments, 1, count))
    end, failed)
end

local function clean()
    for proxy in next, behind do
        for key in next, proxy do
            rawset(proxy, key, nil)
        end
    end
end

return sandbox, run, clean, library_globals, set_loading
