"""The basic use of redis-py against a server: py_basic.py HOST PORT SOCKET PROTOCOL.

Every check starts with an empty server and gets a client of its own. The replies are those of `legacy_responses=False`,
which are the same in RESP2 and RESP3; one check looks at the older shapes, which are the default.

Left out: redis-py's Lock and other helpers that rest on Lua scripts, and cluster mode, which the server does not have;
Sentinel, which has tests of its own.
"""

import asyncio
import functools
import time

import redis
import redis.asyncio
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError, MaxConnectionsError, TimeoutError
from redis.retry import Retry

from check import at_once, Background, equal, eventually, holds, raises
import py_server  # noqa: F401 (each registers its checks)
import py_sessions  # noqa: F401
import py_values  # noqa: F401
from py_setup import HOST, ONCE, PORT, PROTOCOL, SOCKET, VERSION, blocked, check, connect, fresh

# --- Connections ----------------------------------------------------------------------------------------------------


@check("handshake")
def _(r):
    equal(r.ping(), True)
    equal(r.echo("häh"), "häh")
    named = connect(client_name="counter", db=3)
    me = named.client_info()
    equal((me["name"], me["db"], me["resp"] if "resp" in me else str(PROTOCOL)), ("counter", 3, str(PROTOCOL)))
    if VERSION >= (7, 2):
        holds(me["lib-name"].startswith("redis-py") and me["lib-ver"] == redis.__version__, f"lib-name in {me}")
    named.set("here", 1)
    equal((r.exists("here"), connect(db=3).exists("here")), (0, 1))
    listed = r.client_list(client_id=[me["id"]])
    equal([client["name"] for client in listed], ["counter"])
    equal(r.execute_command("HELLO", PROTOCOL)["proto"] if PROTOCOL == 3 else 2, PROTOCOL)


@check("Unix socket and URLs")
def _(r):
    local = redis.Redis(unix_socket_path=SOCKET, protocol=PROTOCOL)
    equal((local.set("k", "v"), local.get("k")), (True, b"v"))
    by_url = redis.Redis.from_url(f"redis://{HOST}:{PORT}/2?decode_responses=True&protocol={PROTOCOL}")
    equal((by_url.set("k", "two"), by_url.get("k"), r.get("k")), (True, "two", "v"))
    equal(redis.Redis.from_url(f"unix://{SOCKET}?db=2&protocol={PROTOCOL}").get("k"), b"two")


@check("connection pool with many threads")
def _(r):
    pool = redis.BlockingConnectionPool(
        host=HOST,
        port=PORT,
        protocol=PROTOCOL,
        decode_responses=True,
        max_connections=8,
        timeout=20,
        client_name="pooled",
    )
    client = redis.Redis(connection_pool=pool)

    def work(n):
        for i in range(50):
            client.set(f"{n}:{i}", i)
            equal(client.get(f"{n}:{i}"), str(i))
            client.incr("all")

    at_once(32, work)
    equal((r.get("all"), r.dbsize()), ("1600", 1601))
    holds(sum(c["name"] == "pooled" for c in r.client_list()) <= 8, "more connections than the pool may have")
    pool.disconnect()
    eventually(lambda: not any(c["name"] == "pooled" for c in r.client_list()), "the pool's connections are gone")


@check("a pool that is used up")
def _(r):
    pool = redis.ConnectionPool(host=HOST, port=PORT, protocol=PROTOCOL, max_connections=2)
    first, second = pool.get_connection(), pool.get_connection()
    raises(MaxConnectionsError, "Too many connections", pool.get_connection)
    pool.release(first)
    third = pool.get_connection()
    holds(third is first, "a connection that was given back is used again")
    pool.release(second)
    pool.release(third)
    pool.disconnect()


@check("reconnect after CLIENT KILL")
def _(r):
    victim = connect(client_name="victim", retry=Retry(ConstantBackoff(0.01), 3))
    victim.set("k", 1)
    before = victim.client_id()
    equal(r.client_kill_filter(_id=before), 1)
    equal(victim.get("k"), "1")
    holds(victim.client_id() != before, "another connection")
    equal(victim.client_getname(), "victim")


@check("a thread that waits for a reply hears of CLIENT KILL")
def _(r):
    victim = connect(retry=ONCE)
    id = victim.client_id()
    waiting = Background(victim.blpop, "none", 0)
    blocked(r)
    r.client_kill_filter(_id=id)
    raises(ConnectionError, "Connection closed by server", waiting.result)


@check("time limit of a reply")
def _(r):
    hasty = connect(socket_timeout=1, retry=ONCE)
    raises(TimeoutError, "Timeout reading from", hasty.blpop, "none", 0)
    equal(hasty.ping(), True)


@check("health check and single connection")
def _(r):
    with connect(single_connection_client=True, health_check_interval=0.001, client_name="one") as one:
        id = one.client_id()
        time.sleep(0.002)
        equal(one.client_id(), id)
        equal(one.client_setname("a"), True)
        equal(one.client_getname(), "a")
    eventually(lambda: not any(c["name"] in ("a", "one") for c in r.client_list()), "closed with its block")


# --- asyncio --------------------------------------------------------------------------------------------------------


def asynchronous(function):
    """A check written as a coroutine; it gets a client of asyncio."""

    @functools.wraps(function)
    def run(_):
        async def with_client():
            client = redis.asyncio.Redis(
                host=HOST, port=PORT, protocol=PROTOCOL, legacy_responses=False, decode_responses=True
            )
            async with client:
                await function(client)

        asyncio.run(with_client())

    return run


@check("asyncio: many tasks over a pool")
@asynchronous
async def _(r):
    pool = redis.asyncio.BlockingConnectionPool(
        host=HOST, port=PORT, protocol=PROTOCOL, decode_responses=True, max_connections=10, timeout=20
    )
    client = redis.asyncio.Redis(connection_pool=pool)

    async def work(n):
        for i in range(10):
            await client.set(f"{n}:{i}", i)
            equal(await client.get(f"{n}:{i}"), str(i))
            await client.incr("all")

    await asyncio.gather(*(work(n) for n in range(100)))
    equal((await r.get("all"), await r.dbsize()), ("1000", 1001))
    await client.aclose()
    await pool.disconnect()


@check("asyncio: pipelines, transactions, iterators")
@asynchronous
async def _(r):
    async with r.pipeline(transaction=True) as pipe:
        equal(await pipe.set("n", 1).incr("n").execute(), [True, 2])

    async def add(pipe):
        value = int(await pipe.get("n"))
        pipe.multi()
        pipe.set("n", value + 1)

    await asyncio.gather(*(r.transaction(add, "n") for _ in range(20)))
    equal(await r.get("n"), "22")
    await r.mset({f"k{n}": n for n in range(500)})
    equal(len({key async for key in r.scan_iter(match="k*")}), 500)


@check("asyncio: pub/sub and blocking commands")
@asynchronous
async def _(r):
    async with r.pubsub(ignore_subscribe_messages=True) as listener:
        await listener.subscribe("news")
        while await r.publish("news", "hello") == 0:
            await asyncio.sleep(0.005)

        async def first():
            async for one in listener.listen():
                return one["data"]

        equal(await asyncio.wait_for(first(), 10), "hello")
    waiting = asyncio.create_task(r.blpop("q", 10))
    while (await r.info("clients"))["blocked_clients"] != 1:
        await asyncio.sleep(0.005)
    await r.rpush("q", "job")
    equal(await asyncio.wait_for(waiting, 10), ["q", "job"])


if __name__ == "__main__":
    check.run(110, fresh)
