"""Checks of redis-py: users, errors, what the server tells about itself, and client-side caching."""

import datetime
import time

from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from check import equal, eventually, holds, raises
from py_setup import HOST, ONCE, PORT, PROTOCOL, VERSION, check, connect

# --- Users and errors -----------------------------------------------------------------------------------------------

# What a user called reader hears.
if VERSION >= (7, 2):
    MAY_NOT_RUN = "User reader has no permissions to run the '{}' command"
    NO_KEY, NO_CHANNEL = "No permissions to access a key", "No permissions to access a channel"
else:
    MAY_NOT_RUN = "this user has no permissions to run the '{}' command"
    NO_KEY = "this user has no permissions to access one of the keys used as arguments"
    NO_CHANNEL = "this user has no permissions to access one of the channels used as arguments"


@check("users with limited rights")
def _(r):
    equal(
        r.acl_setuser(
            "reader",
            enabled=True,
            passwords=["+pass"],
            keys=["cache:*"],
            channels=["news"],
            categories=["+@read", "+@pubsub", "+@connection"],
            commands=["+incrby", "-keys"],
            reset=True,
        ),
        True,
    )
    user = connect(username="reader", password="pass")
    r.set("cache:a", 1)
    equal((user.get("cache:a"), user.incr("cache:a")), ("1", 2))
    raises(NoPermissionError, MAY_NOT_RUN.format("set"), user.set, "cache:a", 2)
    raises(NoPermissionError, NO_KEY, user.get, "other")
    raises(NoPermissionError, MAY_NOT_RUN.format("keys"), user.keys)
    raises(NoPermissionError, NO_CHANNEL, user.publish, "other", 1)
    equal(user.publish("news", 1), 0)
    raises(NoPermissionError, NO_KEY, user.pipeline(transaction=False).get("other").execute)
    about = r.acl_getuser("reader")
    holds("on" in about["flags"] and about["enabled"] is True, f"flags in {about}")
    holds("+incrby" in about["commands"] and "-keys" in about["commands"], f"commands in {about}")
    holds("reader" in r.acl_users() and any(line.startswith("user reader on ") for line in r.acl_list()), "listed")
    log = r.acl_log()
    equal((log[0]["reason"], log[0]["object"], log[0]["username"]), ("key", "other", "reader"))
    equal((r.acl_log_reset(), r.acl_log(), r.acl_whoami(), len(r.acl_genpass())), (True, [], "default", 64))
    holds("get" in r.acl_cat("read") and "string" in r.acl_cat(), "categories")
    raises(
        ResponseError,
        "Error in ACL SETUSER modifier '+nosuch'",
        r.execute_command,
        "ACL",
        "SETUSER",
        "reader",
        "+nosuch",
    )
    raises(
        AuthenticationError,
        "invalid username-password pair or user is disabled.",
        connect(username="reader", password="wrong", retry=ONCE).ping,
    )
    # A user who is deleted loses the connections that are open.
    idle = connect(username="reader", password="pass", retry=ONCE, single_connection_client=True)
    equal((idle.ping(), r.acl_deluser("reader")), (True, 1))
    raises(
        AuthenticationError,
        "invalid username-password pair or user is disabled.",
        connect(username="reader", password="pass", retry=ONCE).ping,
    )


@check("password of the default user")
def _(r):
    with connect(single_connection_client=True) as keeper:
        keeper.config_set("requirepass", "secret")
        try:
            raises(AuthenticationError, "Authentication required.", connect(protocol=2, retry=ONCE).get, "k")
            raises(
                AuthenticationError,
                "invalid username-password pair or user is disabled.",
                connect(password="wrong", retry=ONCE).get,
                "k",
            )
            equal(connect(password="secret").set("k", 1), True)
        finally:
            keeper.config_set("requirepass", "")


@check("errors have their classes")
def _(r):
    r.set("s", "text")
    raises(ResponseError, "WRONGTYPE Operation against a key holding the wrong kind of value", r.lpush, "s", 1)
    raises(ResponseError, "value is not an integer or out of range", r.incr, "s")
    raises(ResponseError, "unknown command 'NOSUCH', with args beginning with: 'a' ", r.execute_command, "NOSUCH", "a")
    raises(ResponseError, "wrong number of arguments for 'get' command", r.execute_command, "GET")
    raises(ResponseError, "syntax error", r.execute_command, "SET", "k", "v", "NOSUCH")
    raises(ResponseError, "DB index is out of range", connect(db=9999).ping)
    raises(ConnectionError, "Connection refused", connect(port=1, retry=ONCE).ping)
    r.config_set("maxmemory", 1)
    raises(OutOfMemoryError, "command not allowed when used memory > 'maxmemory'.", r.set, "k", "v")
    r.config_set("maxmemory", 0)
    r.replicaof(HOST, 1)
    try:
        raises(ReadOnlyError, "You can't write against a read only replica.", r.set, "k", "v")
    finally:
        r.replicaof("NO", "ONE")
    equal((r.set("k", "v"), r.role()[0]), (True, "master"))


# --- The server -----------------------------------------------------------------------------------------------------


@check("INFO, CONFIG, MEMORY, OBJECT")
def _(r):
    r.set("k", "v", ex=1000)
    info = r.info()
    equal((info["tcp_port"], info["role"], info["db0"]["keys"], info["db0"]["expires"]), (PORT, "master", 1, 1))
    holds(info["used_memory"] > 10_000 and isinstance(info["used_memory_human"], str), "used_memory")
    holds(info["total_commands_processed"] > 0 and info["connected_clients"] >= 1, "counts")
    equal((r.info("replication")["connected_slaves"], r.info("persistence")["loading"]), (0, 0))
    holds(r.info("commandstats")["cmdstat_set"]["calls"] >= 1 and r.info("everything")["used_cpu_sys"] >= 0, "sections")
    before = r.config_get("hash-max-listpack-*")
    equal(
        (
            r.config_set("hash-max-listpack-entries", 7),
            r.config_get("hash-max-listpack-entries")["hash-max-listpack-entries"],
        ),
        (True, "7"),
    )
    r.config_set("hash-max-listpack-entries", before["hash-max-listpack-entries"])
    equal(r.config_get("maxmemory", "save", "maxmemory"), {"maxmemory": "0", "save": ""})
    raises(ResponseError, "Unknown option or number of arguments for CONFIG SET - 'nosuch'", r.config_set, "nosuch", 1)
    equal((r.config_resetstat(), r.info("stats")["total_connections_received"]), (True, 0))
    r.hset("h", mapping={f"f{n}": "v" for n in range(1000)})
    holds(r.memory_usage("h") > r.memory_usage("k") > 0 and r.memory_usage("none") is None, "MEMORY USAGE")
    stats = r.memory_stats()
    holds(stats["peak.allocated"] >= stats["dataset.bytes"] > 0 and stats["keys.count"] == 2, f"MEMORY STATS: {stats}")
    equal(
        (r.memory_purge(), r.object("encoding", "h"), r.object("refcount", "k"), r.object("idletime", "k") < 60),
        (True, "hashtable", 1, True),
    )
    r.set("n", 12)
    equal((r.object("encoding", "n"), r.object("encoding", "k"), r.object("encoding", "none")), ("int", "embstr", None))


@check("commands about the server")
def _(r):
    seconds, micros = r.time()
    holds(abs(seconds - time.time()) < 60 and 0 <= micros < 1_000_000, "the time")
    equal([about and about[:2] for about in r.execute_command("COMMAND INFO", "GET", "nosuch")], [["get", 2], None])
    commands = r.command()
    holds(r.command_count() == len(commands) > 200 and "readonly" in commands["get"]["flags"], "the table")
    equal(r.command_getkeys("MSET", "a", 1, "b", 2), ["a", "b"])
    holds("xadd" in r.command_list(category="stream") and r.execute_command("COMMAND DOCS", "GET"), "lists and docs")
    r.config_set("slowlog-log-slower-than", 0)
    r.set("slow", "x")
    r.config_set("slowlog-log-slower-than", 10_000)
    holds(any(entry["command"] == b"SET slow x" for entry in r.slowlog_get(10)) and r.slowlog_len() > 0, "SLOWLOG")
    equal(
        (r.slowlog_reset(), r.lastsave() <= datetime.datetime.now(), r.latency_reset(), r.latency_latest()),
        (True, True, 0, []),
    )
    equal(
        (r.client_pause(10, all=False), r.client_unpause(), r.client_no_evict("ON"), r.wait(0, 10)),
        (True, "OK", "OK", 0),
    )
    if VERSION >= (7, 2):
        equal(r.client_no_touch("ON"), "OK")
    with connect().monitor() as monitor:
        r.set("seen", 'a "quoted" word')
        heard = next(entry for entry in monitor.listen() if "seen" in entry["command"])
    equal((heard["db"], heard["client_address"], heard["client_type"]), (0, HOST, "tcp"))


# --- Client-side caching --------------------------------------------------------------------------------------------

if PROTOCOL == 3:
    from redis.cache import CacheConfig
    from redis.connection import CacheProxyConnection

    # redis-py caches with servers from 7.4 on only; what it needs of them has been there since 6.0.
    CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"

    @check("client-side caching")
    def _(r):
        caching = connect(cache_config=CacheConfig(max_size=100))
        r.mset({"k": "old", "l": 1})
        equal((caching.get("k"), caching.mget("k", "l")), ("old", ["old", "1"]))
        hits = r.info("commandstats")["cmdstat_get"]["calls"]
        equal((caching.get("k"), caching.get("k")), ("old", "old"))
        equal(r.info("commandstats")["cmdstat_get"]["calls"], hits)
        r.set("k", "new")
        eventually(lambda: caching.get("k") == "new", "the cache hears of the change")
        equal(caching.mget("k", "l"), ["new", "1"])
        r.flushall()
        eventually(lambda: caching.get("k") is None, "the cache hears of FLUSHALL")
        holds("on" in caching.client_trackinginfo()["flags"], "tracking is on")
