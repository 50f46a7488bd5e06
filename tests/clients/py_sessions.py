"""Checks of redis-py: what lasts longer than a command: pipelines, transactions, subscriptions, streams, waiting."""

import threading
import time

import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ExecAbortError, ResponseError, WatchError
from redis.retry import Retry

from check import at_once, Background, equal, eventually, holds, raises
from py_setup import HOST, PORT, PROTOCOL, blocked, check, connect

# --- Pipelines and transactions -------------------------------------------------------------------------------------


@check("pipelines")
def _(r):
    with r.pipeline(transaction=False) as pipe:
        for n in range(5000):
            pipe.set(f"k{n}", n).incr("sum")
        replies = pipe.execute()
    equal((len(replies), replies[-2:], r.dbsize()), (10_000, [True, 5000], 5001))
    with r.pipeline(transaction=False) as pipe:
        pipe.set("s", "text").lpush("s", 1).get("s")
        replies = pipe.execute(raise_on_error=False)
    equal((replies[0], type(replies[1]), replies[2]), (True, ResponseError, "text"))
    pipe = r.pipeline(transaction=False).set("s", 1).incr("s").lpush("s", 1)
    raises(ResponseError, "Command # 3 (LPUSH s 1) of pipeline caused error: WRONGTYPE", pipe.execute)
    equal(r.get("s"), "2")


@check("transactions")
def _(r):
    equal(r.pipeline().set("a", 1).incr("a").get("a").mget("a", "b").execute(), [True, 2, "2", ["2", None]])
    replies = r.pipeline().lpush("a", 1).incr("a").execute(raise_on_error=False)
    equal((type(replies[0]), replies[1]), (ResponseError, 3))
    raises(ExecAbortError, "Transaction discarded because of previous errors.", connect_multi_error, r)
    equal(r.get("a"), "3")


def connect_multi_error(r):
    with connect(single_connection_client=True) as one:
        one.execute_command("MULTI")
        raises(ResponseError, "unknown command 'NOSUCH'", one.execute_command, "NOSUCH")
        equal(one.execute_command("APPEND", "a", 5), "QUEUED")
        one.execute_command("EXEC")


@check("WATCH and retry")
def _(r):
    with r.pipeline() as pipe:
        pipe.watch("n")
        r.set("n", 10)
        pipe.multi()
        pipe.set("n", 1)
        raises(WatchError, "Watched variable changed.", pipe.execute)
    equal(r.get("n"), "10")
    client = redis.Redis(connection_pool=redis.ConnectionPool(host=HOST, port=PORT, protocol=PROTOCOL))

    def by_hand(_):
        for _ in range(25):
            with client.pipeline() as pipe:
                while True:
                    try:
                        pipe.watch("n")
                        value = int(pipe.get("n"))
                        pipe.multi()
                        pipe.set("n", value + 1)
                        pipe.execute()
                        break
                    except WatchError:
                        continue

    at_once(4, by_hand)
    equal(r.get("n"), "110")

    def helper(_):
        def double(pipe):
            value = int(pipe.get("n"))
            pipe.multi()
            pipe.set("n", value + 2)

        for _ in range(25):
            equal(client.transaction(double, "n"), [True])

    at_once(4, helper)
    equal(r.get("n"), "310")


# --- Messages -------------------------------------------------------------------------------------------------------


def message(listener):
    """The next message; announcements of subscriptions are among them, unless the listener leaves them out."""
    return eventually(lambda: listener.get_message(timeout=0.1), "a message")


@check("pub/sub")
def _(r):
    listener = r.pubsub()
    listener.subscribe("news", "other")
    listener.psubscribe("n?ws")
    kinds = [(m["type"], m["channel"], m["data"]) for m in (message(listener) for _ in range(3))]
    equal(kinds, [("subscribe", "news", 1), ("subscribe", "other", 2), ("psubscribe", "n?ws", 3)])
    equal((r.publish("news", "hällo"), r.publish("nobody", "x")), (2, 0))
    equal(message(listener), {"type": "message", "pattern": None, "channel": "news", "data": "hällo"})
    equal(message(listener), {"type": "pmessage", "pattern": "n?ws", "channel": "news", "data": "hällo"})
    equal(
        (sorted(r.pubsub_channels()), r.pubsub_numsub("news", "x"), r.pubsub_numpat()),
        (["news", "other"], [("news", 1), ("x", 0)], 1),
    )
    if PROTOCOL == 2:  # With RESP3, where PONG is no message, the library takes its text apart.
        listener.ping("still there")
        equal((got := message(listener))["type"] + " " + got["data"], "pong still there")
    listener.unsubscribe()
    listener.punsubscribe("n?ws")
    kinds = sorted((m["type"], m["data"]) for m in (message(listener) for _ in range(3)))
    equal([kind for kind, _ in kinds], ["punsubscribe", "unsubscribe", "unsubscribe"])
    equal((listener.subscribed, r.publish("news", "x")), (False, 0))
    listener.close()


@check("pub/sub with handlers in a thread")
def _(r):
    got = []
    listener = r.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(**{"a": lambda m: got.append(m["data"])})
    listener.psubscribe(**{"b*": lambda m: got.append((m["channel"], m["data"]))})
    thread = listener.run_in_thread(sleep_time=0.01)
    eventually(lambda: r.pubsub_numpat() == 1, "subscribed")
    for n in range(100):
        r.publish("a", n)
    r.publish("bc", "last")
    eventually(lambda: len(got) == 101, "all messages")
    equal(got, [str(n) for n in range(100)] + [("bc", "last")])
    thread.stop()
    thread.join()


@check("sharded pub/sub")
def _(r):
    listener = r.pubsub(ignore_subscribe_messages=True)
    listener.ssubscribe("orders")
    eventually(
        lambda: listener.get_message(timeout=0.01) is None and r.pubsub_shardchannels() == ["orders"], "subscribed"
    )
    equal((r.spublish("orders", "one"), r.publish("orders", "none")), (1, 0))
    got = message(listener)
    equal((got["type"], got["channel"], got["data"]), ("smessage", "orders", "one"))
    listener.sunsubscribe("orders")
    listener.get_message(timeout=0.1)
    eventually(lambda: r.pubsub_shardchannels() == [], "no subscription left")
    listener.close()


@check("a subscriber comes back after CLIENT KILL")
def _(r):
    listener = connect(retry=Retry(ConstantBackoff(0.01), 5)).pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    listener.psubscribe("p*")
    eventually(lambda: listener.get_message(timeout=0.01) is None and r.pubsub_numpat() == 1, "subscribed")
    equal(r.client_kill_filter(_type="pubsub"), 1)
    eventually(lambda: r.pubsub_numsub("news")[0][1] == 0, "the connection is closed")

    def heard():
        r.publish("news", "again")
        return listener.get_message(timeout=0.05)

    equal(eventually(heard, "a message on a new connection")["data"], "again")
    equal(r.pubsub_numpat(), 1)
    listener.close()


@check("keyspace notifications")
def _(r):
    r.config_set("notify-keyspace-events", "KEA")
    listener = r.pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("__key*@0__:*")
    eventually(lambda: listener.get_message(timeout=0.01) is None and r.pubsub_numpat() == 1, "subscribed")
    r.set("k", "v", ex=100)
    r.delete("k")
    got = [(m["channel"], m["data"]) for m in (message(listener) for _ in range(6))]
    events = ["set", "expire", "del"]
    equal(got, [pair for e in events for pair in (("__keyspace@0__:k", e), (f"__keyevent@0__:{e}", "k"))])
    r.config_set("notify-keyspace-events", "")
    listener.close()


# --- Streams and blocking commands ----------------------------------------------------------------------------------


@check("streams")
def _(r):
    first = r.xadd("x", {"a": 1, "b": "ü"})
    equal(r.xadd("x", {"a": 2}, id="9999999999999-1"), "9999999999999-1")
    equal(r.xrange("x"), [(first, {"a": "1", "b": "ü"}), ("9999999999999-1", {"a": "2"})])
    equal((r.xlen("x"), r.xrevrange("x", count=1), r.xdel("x", first)), (2, [("9999999999999-1", {"a": "2"})], 1))
    raises(
        ResponseError,
        "The ID specified in XADD is equal or smaller than the target stream top item",
        r.xadd,
        "x",
        {"a": 1},
        id="1-1",
    )
    equal(
        (r.xadd("none", {"a": 1}, nomkstream=True), r.xread({"x": "0", "none": "0"})),
        (None, {"x": [("9999999999999-1", {"a": "2"})]}),
    )
    for n in range(300):
        r.xadd("t", {"n": n}, id=f"{n + 1}-0", maxlen=100, approximate=False)
    equal((r.xlen("t"), r.xtrim("t", minid="290", approximate=False), r.xlen("t")), (100, 89, 11))
    info = r.xinfo_stream("t")
    equal((info["length"], info["last-generated-id"], info["first-entry"]), (11, "300-0", ("290-0", {"n": "289"})))
    equal(r.xinfo_stream("t", full=True)["entries"]["290-0"], {"n": "289"})


@check("consumer groups")
def _(r):
    equal(r.xgroup_create("x", "g", id="$", mkstream=True), True)
    raises(ResponseError, "BUSYGROUP Consumer Group name already exists", r.xgroup_create, "x", "g")
    for n in range(1, 6):
        r.xadd("x", {"n": n}, id=f"{n}-0")
    equal(r.xreadgroup("g", "ann", {"x": ">"}, count=2), {"x": [("1-0", {"n": "1"}), ("2-0", {"n": "2"})]})
    equal(r.xreadgroup("g", "bob", {"x": ">"}, noack=False), {"x": [(f"{n}-0", {"n": str(n)}) for n in (3, 4, 5)]})
    equal(r.xreadgroup("g", "bob", {"x": ">"}), {})
    equal(r.xack("x", "g", "1-0", "3-0", "9-9"), 2)
    summary = r.xpending("x", "g")
    equal((summary["pending"], summary["min"], summary["max"]), (3, "2-0", "5-0"))
    equal(summary["consumers"], [{"name": "ann", "pending": 1}, {"name": "bob", "pending": 2}])
    pending = r.xpending_range("x", "g", "-", "+", 10, consumername="bob")
    equal(
        [(p["message_id"], p["consumer"], p["times_delivered"]) for p in pending],
        [("4-0", "bob", 1), ("5-0", "bob", 1)],
    )
    equal(r.xclaim("x", "g", "ann", 0, ["4-0"]), [("4-0", {"n": "4"})])
    r.xdel("x", "5-0")
    cursor, taken, gone = r.xautoclaim("x", "g", "cid", 0, start_id="0-0", count=10)
    equal((cursor, taken, gone), ("0-0", [("2-0", {"n": "2"}), ("4-0", {"n": "4"})], ["5-0"]))
    equal(r.xreadgroup("g", "cid", {"x": "0"}), {"x": [("2-0", {"n": "2"}), ("4-0", {"n": "4"})]})
    (group,) = r.xinfo_groups("x")
    equal(
        (group["name"], group["consumers"], group["pending"], group["last-delivered-id"], group["lag"]),
        ("g", 3, 2, "5-0", group["lag"]),
    )
    equal({c["name"]: c["pending"] for c in r.xinfo_consumers("x", "g")}, {"ann": 0, "bob": 0, "cid": 2})
    equal(
        (r.xgroup_delconsumer("x", "g", "cid"), r.xgroup_setid("x", "g", "0"), r.xgroup_destroy("x", "g")),
        (2, True, True),
    )
    raises(ResponseError, "NOGROUP No such key 'x' or consumer group 'g'", r.xreadgroup, "g", "ann", {"x": ">"})


@check("workers of a consumer group")
def _(r):
    r.xgroup_create("jobs", "workers", mkstream=True)
    done, lock = [], threading.Lock()

    def worker(n):
        client = connect()
        while len(done) < 500:
            reply = client.xreadgroup("workers", f"w{n}", {"jobs": ">"}, count=7, block=50)
            for id, fields in reply.get("jobs", []):
                equal(client.xack("jobs", "workers", id), 1)
                with lock:
                    done.append(int(fields["job"]))

    crew = [Background(worker, n) for n in range(4)]
    for n in range(500):
        r.xadd("jobs", {"job": n})
    for one in crew:
        one.result()
    equal((sorted(done), r.xpending("jobs", "workers")["pending"]), (list(range(500)), 0))


@check("blocking commands that time out")
def _(r):
    start = time.monotonic()
    equal(
        (
            r.blpop("none", 0.05),
            r.brpop(["none", "n2"], 0.05),
            r.blmove("none", "d", 0.05),
            r.brpoplpush("none", "d", 0.05),
        ),
        (None,) * 4,
    )
    equal(
        (r.bzpopmin("none", 0.05), r.bzpopmax("none", 0.05), r.blmpop(0.05, 1, "none", direction="LEFT")), (None,) * 3
    )
    equal((r.bzmpop(0.05, 1, ["none"], min=True), r.xread({"none": "$"}, block=50)), (None, {}))
    holds(0.4 <= time.monotonic() - start < 5, "each waits for its time")


@check("blocking commands that are served")
def _(r):
    def served(call, serve, expected):
        waiting = Background(call)
        blocked(r)
        serve()
        equal(waiting.result(), expected)
        blocked(r, 0)

    c = connect()
    served(lambda: c.blpop(["a", "b"], 10), lambda: r.rpush("b", "v"), ["b", "v"])
    served(lambda: c.brpop("a", 10), lambda: r.rpush("a", 1, 2), ["a", "2"])
    served(lambda: c.blmove("q", "d", 10, "LEFT", "RIGHT"), lambda: r.lpush("q", "x"), "x")
    served(lambda: c.blmpop(10, 2, "q", "p", direction="LEFT", count=3), lambda: r.rpush("p", 1, 2), ["p", ["1", "2"]])
    served(lambda: c.bzpopmin("z", 10), lambda: r.zadd("z", {"m": 1.5}), ["z", "m", 1.5])
    served(lambda: c.bzmpop(10, 1, ["z"], max=True), lambda: r.zadd("z", {"m": 1}), ["z", [["m", 1.0]]])
    served(
        lambda: c.xread({"x": "$"}, block=10_000), lambda: r.xadd("x", {"f": 1}, id="1-1"), {"x": [("1-1", {"f": "1"})]}
    )
    victim = connect()
    id = victim.client_id()
    waiting = Background(victim.blpop, "none", 0)
    blocked(r)
    equal((r.client_unblock(id), waiting.result()), (True, None))
