"""Checks of redis-py: values of every type, expiry, and the iterators over them."""

import datetime

import redis
from redis.exceptions import DataError, ResponseError

from check import equal, eventually, holds, raises
from py_setup import HOST, PORT, VERSION, check, connect, needs

# --- Values ---------------------------------------------------------------------------------------------------------


@check("strings")
def _(r):
    equal(r.set("k", "v"), True)
    equal(r.set("k", "w", nx=True), None)
    equal(r.set("k", "w", xx=True, get=True), "v")
    equal(r.set("none", "w", xx=True), None)
    equal((r.append("k", "xyz"), r.getrange("k", 1, -2), r.setrange("k", 2, "--"), r.strlen("k")), (4, "xy", 4, 4))
    equal((r.getset("k", "n"), r.getdel("k"), r.get("k")), ("wx--", "n", None))
    equal((r.incr("n"), r.incrby("n", 41), r.decr("n", 2), r.incrbyfloat("n", 0.5)), (1, 42, 40, 40.5))
    equal(r.mset({"a": 1, "b": 2.5, "c": "ü"}), True)
    equal(r.mget("a", "b", "c", "none"), ["1", "2.5", "ü", None])
    equal((r.msetnx({"d": 1, "a": 2}), r.msetnx({"d": 1, "e": 2})), (False, True))
    r.mset({"x": "ohmytext", "y": "mynewtext"})
    equal((r.lcs("x", "y"), r.lcs("x", "y", len=True)), ("mytext", 6))
    equal(r.lcs("x", "y", idx=True, minmatchlen=4), {"matches": [[[4, 7], [5, 8]]], "len": 6})


@check("unicode and bytes of every kind")
def _(r):
    raw = connect(decode_responses=False)
    every = bytes(range(256)) * 2 + b"\r\n$-1\r\n"
    equal((raw.set(every, every), raw.get(every), raw.keys()), (True, every, [every]))
    text = "値 \U0001f600\0"
    equal((r.set("клич", text), r.get("клич"), r.strlen("клич")), (True, text, 9))
    equal(raw.hset("h", mapping={b"\xff\0": b"", "": b"\xfe"}), 2)
    equal(raw.hgetall("h"), {b"\xff\0": b"", b"": b"\xfe"})
    latin = connect(encoding="latin-1")
    equal((latin.set("l", "ü"), raw.get("l"), latin.get("l")), (True, b"\xfc", "ü"))
    raises(DataError, "Invalid input of type", r.set, "k", None)


@check("large values")
def _(r):
    raw = connect(decode_responses=False)
    large = bytes(range(256)) * (1 << 16)  # 16 MiB
    equal((raw.set("large", large), raw.strlen("large")), (True, len(large)))
    holds(raw.get("large") == large, "what was stored comes back")
    equal(raw.getrange("large", 1 << 20, (1 << 20) + 3), b"\0\1\2\3")
    equal(raw.rpush("list", *range(200_000)), 200_000)
    holds(raw.lrange("list", 0, -1) == [b"%d" % n for n in range(200_000)], "a long reply")


@check("lists")
def _(r):
    equal((r.rpush("l", "a", "b", "c"), r.lpush("l", "z"), r.rpushx("none", 1)), (3, 4, 0))
    equal((r.lrange("l", 0, -1), r.llen("l"), r.lindex("l", -1)), (["z", "a", "b", "c"], 4, "c"))
    equal((r.linsert("l", "before", "b", "a"), r.lpos("l", "a"), r.lpos("l", "a", count=0)), (5, 1, [1, 2]))
    equal((r.lrem("l", 1, "a"), r.lset("l", 0, "y"), r.ltrim("l", 0, 2)), (1, True, True))
    equal((r.lpop("l"), r.rpop("l", 5), r.lpop("l"), r.rpop("l", 2)), ("y", ["b", "a"], None, None))
    r.rpush("l", 1, 2, 3, 4)
    equal((r.lmove("l", "m", "LEFT", "RIGHT"), r.rpoplpush("l", "m"), r.lrange("m", 0, -1)), ("1", "4", ["4", "1"]))
    equal(
        (r.lmpop(2, "none", "l", direction="RIGHT", count=5), r.lmpop(1, "none", direction="LEFT")),
        (["l", ["3", "2"]], None),
    )


@check("hashes")
def _(r):
    equal((r.hset("h", "a", 1), r.hset("h", mapping={"a": 2, "b": 3}), r.hsetnx("h", "b", 1)), (1, 1, False))
    equal((r.hgetall("h"), r.hget("h", "a"), r.hmget("h", "b", "z")), ({"a": "2", "b": "3"}, "2", ["3", None]))
    equal((r.hkeys("h"), r.hvals("h"), r.hlen("h"), r.hstrlen("h", "a")), (["a", "b"], ["2", "3"], 2, 1))
    equal(
        (r.hincrby("h", "a", 5), r.hincrbyfloat("h", "b", 0.25), r.hexists("h", "z"), r.hdel("h", "a", "z")),
        (7, 3.25, False, 1),
    )
    equal((r.hrandfield("h"), r.hrandfield("h", -3, withvalues=True)), ("b", [["b", "3.25"]] * 3))
    equal((r.hgetall("none"), r.hrandfield("none"), r.hget("none", "a")), ({}, None, None))


@check("expiry of hash fields")
def _(r):
    needs(r, "HEXPIRE")
    r.hset("h", mapping={"a": 1, "b": 2})
    equal((r.hexpire("h", 100, "a", "z"), r.httl("h", "a", "b", "z")), ([1, -2], [100, -1, -2]))
    equal((r.hpersist("h", "a", "b"), r.hpexpire("h", 1, "a")), ([1, -1], [1]))
    eventually(lambda: r.hlen("h") == 1 and r.hgetall("h") == {"b": "2"}, "the field expires")


@check("sets")
def _(r):
    equal((r.sadd("s", "a", "b", 3), r.sadd("s", "a"), r.smembers("s")), (3, 0, {"a", "b", "3"}))
    r.sadd("t", "b", "c")
    equal((r.sinter("s", "t"), r.sunion("s", "t"), r.sdiff("s", "t")), ({"b"}, {"a", "b", "c", "3"}, {"a", "3"}))
    equal((r.sinterstore("d", "s", "t"), r.sintercard(2, ["s", "t"], limit=5), r.scard("d")), (1, 1, 1))
    equal(
        (r.sismember("s", "a"), r.smismember("s", "a", "z"), r.smove("s", "t", "a"), r.srem("s", "b", "z")),
        (1, [1, 0], True, 1),
    )
    equal((r.srandmember("s"), r.srandmember("s", -2), r.spop("s"), r.spop("s")), ("3", ["3", "3"], "3", None))
    equal(sorted(r.spop("t", 5)), ["a", "b", "c"])


@check("sorted sets")
def _(r):
    equal((r.zadd("z", {"a": 1, "b": 2.5, "c": float("inf")}), r.zadd("z", {"a": 3}, nx=True)), (3, 0))
    equal((r.zadd("z", {"a": 3}, ch=True, gt=True), r.zadd("z", {"a": 0.5}, incr=True)), (1, 3.5))
    equal((r.zscore("z", "c"), r.zmscore("z", ["a", "x"]), r.zscore("z", "x")), (float("inf"), [3.5, None], None))
    equal(r.zrange("z", 0, -1, withscores=True), [["b", 2.5], ["a", 3.5], ["c", float("inf")]])
    equal((r.zrange("z", "(2.5", "+inf", byscore=True, offset=0, num=1), r.zrevrange("z", 0, 0)), (["a"], ["c"]))
    equal((r.zrank("z", "a"), r.zrevrank("z", "b"), r.zrank("z", "x"), r.zcount("z", 0, 3)), (1, 2, None, 1))
    equal((r.zincrby("z", -1, "b"), r.zrem("z", "c", "x"), r.zcard("z")), (1.5, 1, 2))
    r.zadd("y", {"b": 10, "d": 4})
    equal(r.zunion(["z", "y"], withscores=True), [["a", 3.5], ["d", 4.0], ["b", 11.5]])
    equal(r.zinter({"z": 2, "y": 1}, aggregate="MAX", withscores=True), [["b", 10.0]])
    equal((r.zdiff(["z", "y"]), r.zinterstore("x", ["z", "y"]), r.zrangestore("w", "y", 0, 0)), (["a"], 1, 1))
    equal((r.zpopmin("y"), r.zpopmax("z", 5)), ([["d", 4.0]], [["a", 3.5], ["b", 1.5]]))
    equal(r.zmpop(2, ["z", "y"], min=True), ["y", [["b", 10.0]]])
    r.zadd("lex", dict.fromkeys("abcde", 0))
    equal(
        (r.zrangebylex("lex", "[b", "(d"), r.zlexcount("lex", "-", "+"), r.zremrangebylex("lex", "-", "[b")),
        (["b", "c"], 5, 2),
    )
    equal((r.zrandmember("lex") in "cde", len(r.zrandmember("lex", -7, withscores=True))), (True, 7))
    if VERSION >= (7, 2):
        equal((r.zrank("lex", "d", withscore=True), r.zrank("lex", "x", withscore=True)), ([1, 0.0], None))


@check("expiry")
def _(r):
    r.mset({"a": 1, "b": 1, "c": 1})
    equal(
        (r.ttl("none"), r.ttl("a"), r.expire("a", 100), r.ttl("a"), r.persist("a"), r.ttl("a")),
        (-2, -1, True, 100, True, -1),
    )
    equal(
        (
            r.expire("a", 50, xx=True),
            r.expire("a", 50, nx=True),
            r.expire("a", 40, gt=True),
            r.expire("a", 40, lt=True),
        ),
        (False, True, False, True),
    )
    tomorrow = datetime.datetime.now() + datetime.timedelta(days=1)
    equal((r.expireat("b", tomorrow), r.expiretime("b"), r.expiretime("c")), (True, int(tomorrow.timestamp()), -1))
    equal(r.set("k", "v", ex=datetime.timedelta(minutes=2)), True)
    holds(119_000 < r.pttl("k") <= 120_000, "two minutes")
    equal(
        (r.set("k", "w", keepttl=True), r.ttl("k") > 110, r.getex("k", persist=True), r.ttl("k")), (True, True, "w", -1)
    )
    equal((r.setex("k", 100, "x"), r.psetex("l", 100_000, "y"), r.ttl("l")), (True, True, 100))
    equal((r.set("k", "z", px=1), r.expire("a", -1)), (True, True))
    eventually(lambda: r.get("k") is None, "the key expires")
    equal(r.exists("a", "b", "c"), 2)


@check("scan iterators")
def _(r):
    with r.pipeline(transaction=False) as pipe:
        for n in range(2000):
            pipe.set(f"k:{n}", n)
            pipe.hset("h", f"f{n}", n)
            pipe.sadd("s", n)
            pipe.zadd("z", {f"m{n}": n})
        pipe.execute()
    equal(len(set(r.scan_iter())), 2003)
    equal(set(r.scan_iter(match="k:19?", count=100)), {f"k:19{n}" for n in range(10)})
    equal((list(r.scan_iter(_type="hash")), list(r.scan_iter(_type="LIST"))), (["h"], []))
    equal(dict(r.hscan_iter("h", count=50)), {f"f{n}": str(n) for n in range(2000)})
    equal(
        set(r.sscan_iter("s", match="1*9")),
        {str(n) for n in range(2000) if str(n)[0] == "1" and str(n)[-1] == "9" and n > 9},
    )
    equal({m: s for m, s in r.zscan_iter("z")}, {f"m{n}": float(n) for n in range(2000)})
    equal(sorted(r.keys("[hsz]")), ["h", "s", "z"])


@check("keys")
def _(r):
    r.set("a", "v")
    r.rpush("l", 1)
    equal(
        (r.type("a"), r.type("l"), r.type("none"), r.exists("a", "a", "x"), "a" in r),
        ("string", "list", "none", 2, True),
    )
    equal(
        (r.rename("a", "b"), r.renamenx("b", "l"), r.copy("b", "c"), r.touch("b", "x"), r.unlink("c", "x")),
        (True, False, True, 1, 1),
    )
    equal(
        (r.copy("b", "b", destination_db=1), r.move("l", 1), connect(db=1).dbsize(), r.randomkey()), (True, 1, 2, "b")
    )
    raw = connect(decode_responses=False)
    payload = raw.dump("b")
    equal((raw.restore("d", 100_000, payload), r.get("d"), r.ttl("d")), (b"OK", "v", 100))
    raises(ResponseError, "BUSYKEY Target key name already exists.", raw.restore, "d", 0, payload)
    equal(
        (raw.restore("d", 0, payload, replace=True), r.swapdb(0, 1), r.dbsize(), r.delete("b", "x"), r.flushdb()),
        (b"OK", True, 2, 1, True),
    )


@check("geo")
def _(r):
    equal(r.geoadd("g", [13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"]), 2)
    holds(abs(r.geodist("g", "Palermo", "Catania", unit="km") - 166.2742) < 0.001, "the distance")
    equal(
        (r.geohash("g", "Palermo"), r.geopos("g", "none"), r.geodist("g", "Palermo", "none")),
        (["sqc8b49rny0"], [None], None),
    )
    longitude, latitude = r.geopos("g", "Catania")[0]
    holds(abs(longitude - 15.087269) < 1e-5 and abs(latitude - 37.502669) < 1e-5, "the position")
    equal(r.geosearch("g", longitude=15, latitude=37, radius=100, unit="km"), ["Catania"])
    found = r.geosearch(
        "g", member="Palermo", width=400, height=400, unit="km", sort="DESC", withdist=True, withcoord=True
    )
    equal([(name, round(distance)) for name, distance, _ in found], [("Catania", 166), ("Palermo", 0)])
    equal(r.geosearchstore("d", "g", member="Palermo", radius=10, unit="m", storedist=True), 1)


@check("bitmaps and bit fields")
def _(r):
    equal((r.setbit("b", 7, 1), r.setbit("b", 7, 0), r.setbit("b", 9, 1), r.getbit("b", 9)), (0, 1, 0, 1))
    equal(
        (r.bitcount("b"), r.bitcount("b", 8, 15, "BIT"), r.bitpos("b", 1), r.bitop("NOT", "n", "b"), r.bitcount("n")),
        (1, 1, 9, 2, 15),
    )
    field = r.bitfield("f", default_overflow="FAIL")
    equal(field.set("u8", "#0", 250).incrby("u8", "#0", 10).get("u8", 0).execute(), [0, None, 250])
    equal(r.bitfield("f").incrby("u8", 0, 10, "SAT").incrby("i4", "#4", -9, "WRAP").execute(), [255, 7])
    equal(r.bitfield_ro("f", "u8", 0, items=[("u4", 4)]), [255, 15])


@check("HyperLogLog")
def _(r):
    equal((r.pfadd("p", *range(1000)), r.pfadd("p", 5), r.pfadd("q", *range(500, 2000))), (1, 0, 1))
    holds(abs(r.pfcount("p", "q") - 2000) < 60, "about 2000")
    equal((r.pfmerge("m", "p", "q"), r.pfcount("m") == r.pfcount("p", "q")), (True, True))


@check("SORT")
def _(r):
    r.rpush("l", 3, 1, 2)
    r.mset({"w:1": 30, "w:2": 20, "w:3": 10, "n:1": "one", "n:3": "three"})
    equal(
        (r.sort("l"), r.sort("l", desc=True, start=0, num=2), r.sort("l", by="w:*")),
        (["1", "2", "3"], ["3", "2"], ["3", "2", "1"]),
    )
    equal(r.sort("l", get=["#", "n:*"], groups=True), [("1", "one"), ("2", None), ("3", "three")])
    equal((r.sort("l", store="d"), r.sort_ro("d", alpha=True, desc=True)), (3, ["3", "2", "1"]))


@check("default shapes of replies")
def _(r):
    plain = redis.Redis(host=HOST, port=PORT, decode_responses=True)
    plain.zadd("z", {"a": 1, "b": 2})
    plain.xadd("x", {"f": "v"}, id="1-1")
    equal(plain.zrange("z", 0, -1, withscores=True), [("a", 1.0), ("b", 2.0)])
    equal(plain.xread({"x": "0"}), [["x", [("1-1", {"f": "v"})]]])
    equal(
        (plain.zpopmin("z"), plain.blpop("none", 0.01), plain.config_get("port")),
        ([("a", 1.0)], None, {"port": str(PORT)}),
    )
