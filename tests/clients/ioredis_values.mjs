// Checks of ioredis: values of every type, expiry, and the streams over them.

import { ReplyError } from 'ioredis';
import { equal, eventually, fails, holds, upTo } from './check.mjs';
import { check, collect, field, needs, pairs } from './ioredis_setup.mjs';

// --- Values ---------------------------------------------------------------------------------------------------------

check('strings', async (r) => {
  equal([await r.set('k', 'v'), await r.set('k', 'w', 'NX'), await r.set('k', 'w', 'XX', 'GET')], ['OK', null, 'v']);
  equal(
    [await r.append('k', 'xyz'), await r.getrange('k', 1, -2), await r.setrange('k', 2, '--'), await r.strlen('k')],
    [4, 'xy', 4, 4],
  );
  equal([await r.getset('k', 'n'), await r.getdel('k'), await r.get('k')], ['wx--', 'n', null]);
  equal(
    [await r.incr('n'), await r.incrby('n', 41), await r.decrby('n', 2), await r.incrbyfloat('n', 0.5)],
    [1, 42, 40, '40.5'],
  );
  equal(
    [await r.mset({ a: 1, b: 'ü' }), await r.mset(new Map([['c', 3]])), await r.mget(['a', 'b', 'c', 'none'])],
    ['OK', 'OK', ['1', 'ü', '3', null]],
  );
  equal([await r.msetnx('d', 1, 'a', 2), await r.msetnx('d', 1, 'e', 2)], [0, 1]);
  await r.mset('x', 'ohmytext', 'y', 'mynewtext');
  equal([await r.lcs('x', 'y'), await r.lcs('x', 'y', 'LEN')], ['mytext', 6]);
});

check('unicode and bytes of every kind', async (r) => {
  const every = Buffer.concat([Buffer.from(upTo(256)), Buffer.from('\r\n$-1\r\n')]);
  equal([await r.set(every, every), await r.getBuffer(every), await r.keysBuffer('*')], ['OK', every, [every]]);
  equal(
    [await r.set('клич', '値 \u{1f600}\0'), await r.get('клич'), await r.strlen('клич')],
    ['OK', '値 \u{1f600}\0', 9],
  );
  equal([await r.hset('h', Buffer.from([255, 0]), ''), await r.hkeysBuffer('h')], [1, [Buffer.from([255, 0])]]);
});

check('large values', async (r) => {
  const large = Buffer.alloc(16 << 20, Buffer.from(upTo(256)));
  equal([await r.set('large', large), await r.strlen('large')], ['OK', large.length]);
  holds(large.equals(await r.getBuffer('large')), 'what was stored comes back');
  equal([await r.rpush('list', ...upTo(100_000)), await r.lrange('list', 0, -1)], [100_000, upTo(100_000).map(String)]);
});

check('lists', async (r) => {
  equal([await r.rpush('l', 'a', 'b', 'c'), await r.lpush('l', 'z'), await r.rpushx('none', 'x')], [3, 4, 0]);
  equal([await r.lrange('l', 0, -1), await r.llen('l'), await r.lindex('l', -1)], [['z', 'a', 'b', 'c'], 4, 'c']);
  equal(
    [await r.linsert('l', 'BEFORE', 'b', 'a'), await r.lpos('l', 'a'), await r.lpos('l', 'a', 'COUNT', 0)],
    [5, 1, [1, 2]],
  );
  equal([await r.lrem('l', 1, 'a'), await r.lset('l', 0, 'y'), await r.ltrim('l', 0, 2)], [1, 'OK', 'OK']);
  equal(
    [await r.lpop('l'), await r.rpop('l', 5), await r.lpop('l'), await r.rpop('l', 2)],
    ['y', ['b', 'a'], null, null],
  );
  await r.rpush('l', 1, 2, 3, 4);
  equal(
    [await r.lmove('l', 'm', 'LEFT', 'RIGHT'), await r.rpoplpush('l', 'm'), await r.lrange('m', 0, -1)],
    ['1', '4', ['4', '1']],
  );
  equal(
    [await r.lmpop(2, 'none', 'l', 'RIGHT', 'COUNT', 5), await r.lmpop(1, 'none', 'LEFT')],
    [['l', ['3', '2']], null],
  );
});

check('hashes', async (r) => {
  equal([await r.hset('h', 'a', 1), await r.hset('h', { a: 2, b: 3 }), await r.hsetnx('h', 'b', 1)], [1, 1, 0]);
  equal(
    [await r.hgetall('h'), await r.hget('h', 'a'), await r.hmget('h', 'b', 'z')],
    [{ a: '2', b: '3' }, '2', ['3', null]],
  );
  equal(
    [await r.hkeys('h'), await r.hvals('h'), await r.hlen('h'), await r.hstrlen('h', 'a')],
    [['a', 'b'], ['2', '3'], 2, 1],
  );
  equal(
    [
      await r.hincrby('h', 'a', 5),
      await r.hincrbyfloat('h', 'b', 0.25),
      await r.hexists('h', 'z'),
      await r.hdel('h', 'a', 'z'),
    ],
    [7, '3.25', 0, 1],
  );
  equal([await r.hrandfield('h'), await r.hgetall('none'), await r.hget('none', 'a')], ['b', {}, null]);
});

check('expiry of hash fields', async (r) => {
  await needs(r, 'HEXPIRE');
  await r.hset('h', { a: 1, b: 2 });
  equal(
    [await r.hexpire('h', 100, 'FIELDS', 2, 'a', 'z'), await r.httl('h', 'FIELDS', 3, 'a', 'b', 'z')],
    [
      [1, -2],
      [100, -1, -2],
    ],
  );
  equal([await r.hpersist('h', 'FIELDS', 1, 'a'), await r.hpexpire('h', 1, 'FIELDS', 1, 'a')], [[1], [1]]);
  await eventually('the field expires', async () => (await r.hlen('h')) === 1);
});

check('sets', async (r) => {
  equal(
    [await r.sadd('s', 'a', 'b', 3), await r.sadd('s', 'a'), (await r.smembers('s')).sort()],
    [3, 0, ['3', 'a', 'b']],
  );
  await r.sadd('t', ['b', 'c']);
  equal(
    [await r.sinter('s', 't'), (await r.sunion('s', 't')).sort(), (await r.sdiff('s', 't')).sort()],
    [['b'], ['3', 'a', 'b', 'c'], ['3', 'a']],
  );
  equal(
    [await r.sinterstore('d', 's', 't'), await r.sintercard(2, 's', 't', 'LIMIT', 5), await r.scard('d')],
    [1, 1, 1],
  );
  equal(
    [
      await r.sismember('s', 'a'),
      await r.smismember('s', 'a', 'z'),
      await r.smove('s', 't', 'a'),
      await r.srem('s', 'b', 'z'),
    ],
    [1, [1, 0], 1, 1],
  );
  equal(
    [await r.srandmember('s'), await r.srandmember('s', -2), await r.spop('s'), await r.spop('s')],
    ['3', ['3', '3'], '3', null],
  );
  equal((await r.spop('t', 5)).sort(), ['a', 'b', 'c']);
});

check('sorted sets', async (r) => {
  equal([await r.zadd('z', 1, 'a', 2.5, 'b', '+inf', 'c'), await r.zadd('z', 'NX', 3, 'a')], [3, 0]);
  equal([await r.zadd('z', 'GT', 'CH', 3, 'a'), await r.zadd('z', 'INCR', 0.5, 'a')], [1, '3.5']);
  equal(
    [await r.zscore('z', 'c'), await r.zmscore('z', 'a', 'x'), await r.zscore('z', 'x')],
    ['inf', ['3.5', null], null],
  );
  equal(await r.zrange('z', 0, -1, 'WITHSCORES'), ['b', '2.5', 'a', '3.5', 'c', 'inf']);
  equal([await r.zrange('z', '(2.5', '+inf', 'BYSCORE', 'LIMIT', 0, 1), await r.zrevrange('z', 0, 0)], [['a'], ['c']]);
  equal(
    [await r.zrank('z', 'a'), await r.zrevrank('z', 'b'), await r.zrank('z', 'x'), await r.zcount('z', 0, 3)],
    [1, 2, null, 1],
  );
  equal([await r.zincrby('z', -1, 'b'), await r.zrem('z', 'c', 'x'), await r.zcard('z')], ['1.5', 1, 2]);
  await r.zadd('y', 10, 'b', 4, 'd');
  equal(await r.zunion(2, 'z', 'y', 'WITHSCORES'), ['a', '3.5', 'd', '4', 'b', '11.5']);
  equal(
    [
      await r.zdiff(2, 'z', 'y'),
      await r.zinterstore('x', 2, 'z', 'y', 'WEIGHTS', 2, 1),
      await r.zrangestore('w', 'y', 0, 0),
    ],
    [['a'], 1, 1],
  );
  equal(
    [await r.zpopmin('y'), await r.zpopmax('z', 5)],
    [
      ['d', '4'],
      ['a', '3.5', 'b', '1.5'],
    ],
  );
  equal(await r.zmpop(2, 'z', 'y', 'MIN'), ['y', [['b', '10']]]);
  await r.zadd('lex', ...['a', 'b', 'c', 'd', 'e'].flatMap((member) => [0, member]));
  equal(
    [
      await r.zrangebylex('lex', '[b', '(d'),
      await r.zlexcount('lex', '-', '+'),
      await r.zremrangebylex('lex', '-', '[b'),
    ],
    [['b', 'c'], 5, 2],
  );
});

check('expiry', async (r) => {
  await r.mset({ a: 1, b: 1 });
  equal(
    [await r.ttl('none'), await r.ttl('a'), await r.expire('a', 100), await r.ttl('a'), await r.persist('a')],
    [-2, -1, 1, 100, 1],
  );
  equal(
    [
      await r.expire('a', 50, 'XX'),
      await r.expire('a', 50, 'NX'),
      await r.expire('a', 40, 'GT'),
      await r.expire('a', 40, 'LT'),
    ],
    [0, 1, 0, 1],
  );
  const tomorrow = Math.floor(Date.now() / 1000) + 86_400;
  equal([await r.expireat('b', tomorrow), await r.expiretime('b'), await r.pexpiretime('none')], [1, tomorrow, -2]);
  equal(
    [
      await r.set('k', 'v', 'EX', 100),
      await r.set('k', 'w', 'KEEPTTL'),
      (await r.pttl('k')) > 90_000,
      await r.getex('k', 'PERSIST'),
      await r.ttl('k'),
    ],
    ['OK', 'OK', true, 'w', -1],
  );
  equal([await r.setex('k', 100, 'x'), await r.psetex('k', 1, 'y')], ['OK', 'OK']);
  await eventually('the key expires', async () => (await r.get('k')) === null);
});

check('scan streams', async (r) => {
  const pipe = r.pipeline();
  for (const n of upTo(2000)) pipe.set(`k:${n}`, n).hset('h', `f${n}`, n).sadd('s', n).zadd('z', n, `m${n}`);
  await pipe.exec();
  equal(new Set(await collect(r.scanStream())).size, 2003);
  equal(
    [...new Set(await collect(r.scanStream({ match: 'k:19?', count: 100 })))].sort(),
    upTo(10).map((n) => `k:19${n}`),
  );
  equal([await collect(r.scanStream({ type: 'hash' })), await collect(r.scanStream({ type: 'list' }))], [['h'], []]);
  equal(Object.keys(pairs(await collect(r.hscanStream('h', { count: 50 })))).length, 2000);
  equal(new Set(await collect(r.sscanStream('s', { match: '19?' }))).size, 10);
  equal(pairs(await collect(r.zscanStream('z'))).m1999, '1999');
});

check('keys', async (r) => {
  await r.set('a', 'v');
  await r.rpush('l', 1);
  equal(
    [await r.type('a'), await r.type('l'), await r.type('none'), await r.exists('a', 'a', 'x')],
    ['string', 'list', 'none', 2],
  );
  equal(
    [
      await r.rename('a', 'b'),
      await r.renamenx('b', 'l'),
      await r.copy('b', 'c'),
      await r.touch('b', 'x'),
      await r.unlink('c', 'x'),
    ],
    ['OK', 0, 1, 1, 1],
  );
  const payload = await r.dumpBuffer('b');
  equal([await r.restore('d', 100_000, payload), await r.get('d'), await r.ttl('d')], ['OK', 'v', 100]);
  await fails(ReplyError, 'BUSYKEY Target key name already exists.', r.restore('d', 0, payload));
  equal(
    [
      await r.copy('b', 'b', 'DB', 1),
      await r.move('l', 1),
      await r.swapdb(0, 1),
      await r.dbsize(),
      await r.del('b', 'x'),
      await r.flushdb(),
    ],
    [1, 1, 'OK', 2, 1, 'OK'],
  );
});

check('geo, bitmaps, HyperLogLog, SORT', async (r) => {
  equal(await r.geoadd('g', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania'), 2);
  holds(Math.abs((await r.geodist('g', 'Palermo', 'Catania', 'KM')) - 166.2742) < 0.001, 'the distance');
  const [[longitude, latitude], none] = await r.geopos('g', 'Catania', 'none');
  holds(
    Math.abs(longitude - 15.087269) < 1e-5 && Math.abs(latitude - 37.502669) < 1e-5 && none === null,
    'the position',
  );
  equal(
    [await r.geosearch('g', 'FROMLONLAT', 15, 37, 'BYRADIUS', 100, 'KM'), await r.geohash('g', 'Palermo')],
    [['Catania'], ['sqc8b49rny0']],
  );
  equal(
    [
      await r.setbit('b', 9, 1),
      await r.bitcount('b', 8, 15, 'BIT'),
      await r.bitpos('b', 1),
      await r.bitop('NOT', 'n', 'b'),
      await r.bitcount('n'),
    ],
    [0, 1, 9, 2, 15],
  );
  equal(
    await r.bitfield(
      'f',
      'SET',
      'u8',
      '#0',
      250,
      'OVERFLOW',
      'FAIL',
      'INCRBY',
      'u8',
      0,
      10,
      'OVERFLOW',
      'SAT',
      'INCRBY',
      'u8',
      0,
      10,
    ),
    [0, null, 255],
  );
  equal([await r.pfadd('p', ...upTo(1000)), await r.pfadd('p', 5), await r.pfmerge('q', 'p')], [1, 0, 'OK']);
  holds(Math.abs((await r.pfcount('p', 'q')) - 1000) < 30, 'about 1000');
  await r.rpush('l', 3, 1, 2);
  await r.mset({ 'w:1': 30, 'w:2': 20, 'w:3': 10, 'n:1': 'one' });
  equal(
    [
      await r.sort('l', 'BY', 'w:*'),
      await r.sort('l', 'GET', '#', 'GET', 'n:*'),
      await r.sort('l', 'STORE', 'd'),
      await r.sort_ro('d', 'DESC'),
    ],
    [['3', '2', '1'], ['1', 'one', '2', null, '3', null], 3, ['3', '2', '1']],
  );
});
