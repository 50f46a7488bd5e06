// Checks of node-redis: values of every type, expiry, and the iterators over them.

import { ErrorReply } from 'redis';
import { equal, eventually, fails, holds, upTo } from './check.mjs';
import { bytes, check, collect, field, needs } from './node_redis_setup.mjs';

// --- Values ---------------------------------------------------------------------------------------------------------

check('strings', async (r) => {
  equal(await r.set('k', 'v'), 'OK');
  equal(await r.set('k', 'w', { condition: 'NX' }), null);
  equal(await r.set('k', 'w', { condition: 'XX', GET: true }), 'v');
  equal(
    [await r.append('k', 'xyz'), await r.getRange('k', 1, -2), await r.setRange('k', 2, '--'), await r.strLen('k')],
    [4, 'xy', 4, 4],
  );
  equal([await r.getSet('k', 'n'), await r.getDel('k'), await r.get('k')], ['wx--', 'n', null]);
  equal(
    [await r.incr('n'), await r.incrBy('n', 41), await r.decrBy('n', 2), await r.incrByFloat('n', 0.5)],
    [1, 42, 40, '40.5'],
  );
  equal([await r.mSet({ a: '1', b: 'ü' }), await r.mGet(['a', 'b', 'none'])], ['OK', ['1', 'ü', null]]);
  equal([await r.mSetNX({ c: '1', a: '2' }), await r.mSetNX({ c: '1', d: '2' })], [0, 1]);
  await r.mSet([
    ['x', 'ohmytext'],
    ['y', 'mynewtext'],
  ]);
  equal([await r.lcs('x', 'y'), await r.lcsLen('x', 'y')], ['mytext', 6]);
  equal(await r.lcsIdx('x', 'y', { MINMATCHLEN: 4 }), {
    matches: [
      [
        [4, 7],
        [5, 8],
      ],
    ],
    len: 6,
  });
});

check('unicode and bytes of every kind', async (r) => {
  const raw = bytes(r);
  const every = Buffer.concat([Buffer.from(upTo(256)), Buffer.from('\r\n$-1\r\n')]);
  equal([await r.set(every, every), await raw.get(every), await raw.keys('*')], ['OK', every, [every]]);
  equal(
    [await r.set('клич', '値 \u{1f600}\0'), await r.get('клич'), await r.strLen('клич')],
    ['OK', '値 \u{1f600}\0', 9],
  );
  equal([await r.hSet('h', Buffer.from([255, 0]), ''), await raw.hKeys('h')], [1, [Buffer.from([255, 0])]]);
  await fails(TypeError, 'must be of type', (async () => r.set('k', {}))());
});

check('large values', async (r) => {
  const large = Buffer.alloc(16 << 20, Buffer.from(upTo(256)));
  equal([await r.set('large', large), await r.strLen('large')], ['OK', large.length]);
  holds(large.equals(await bytes(r).get('large')), 'what was stored comes back');
  equal(await r.rPush('list', upTo(100_000).map(String)), 100_000);
  equal(await r.lRange('list', 0, -1), upTo(100_000).map(String));
});

check('lists', async (r) => {
  equal([await r.rPush('l', ['a', 'b', 'c']), await r.lPush('l', 'z'), await r.rPushX('none', 'x')], [3, 4, 0]);
  equal([await r.lRange('l', 0, -1), await r.lLen('l'), await r.lIndex('l', -1)], [['z', 'a', 'b', 'c'], 4, 'c']);
  equal(
    [await r.lInsert('l', 'BEFORE', 'b', 'a'), await r.lPos('l', 'a'), await r.lPosCount('l', 'a', 0)],
    [5, 1, [1, 2]],
  );
  equal([await r.lRem('l', 1, 'a'), await r.lSet('l', 0, 'y'), await r.lTrim('l', 0, 2)], [1, 'OK', 'OK']);
  equal(
    [await r.lPop('l'), await r.rPopCount('l', 5), await r.lPop('l'), await r.rPopCount('l', 2)],
    ['y', ['b', 'a'], null, null],
  );
  await r.rPush('l', ['1', '2', '3', '4']);
  equal(
    [await r.lMove('l', 'm', 'LEFT', 'RIGHT'), await r.rPopLPush('l', 'm'), await r.lRange('m', 0, -1)],
    ['1', '4', ['4', '1']],
  );
  equal(
    [await r.lmPop(['none', 'l'], 'RIGHT', { COUNT: 5 }), await r.lmPop('none', 'LEFT')],
    [['l', ['3', '2']], null],
  );
});

check('hashes', async (r) => {
  equal([await r.hSet('h', 'a', 1), await r.hSet('h', { a: 2, b: 3 }), await r.hSetNX('h', 'b', '1')], [1, 1, 0]);
  equal(
    [await r.hGetAll('h'), await r.hGet('h', 'a'), await r.hmGet('h', ['b', 'z'])],
    [{ a: '2', b: '3' }, '2', ['3', null]],
  );
  equal(
    [await r.hKeys('h'), await r.hVals('h'), await r.hLen('h'), await r.hStrLen('h', 'a')],
    [['a', 'b'], ['2', '3'], 2, 1],
  );
  equal(
    [
      await r.hIncrBy('h', 'a', 5),
      await r.hIncrByFloat('h', 'b', 0.25),
      await r.hExists('h', 'z'),
      await r.hDel('h', ['a', 'z']),
    ],
    [7, '3.25', 0, 1],
  );
  equal(
    [await r.hRandField('h'), await r.hRandFieldCountWithValues('h', -2)],
    [
      'b',
      [
        { field: 'b', value: '3.25' },
        { field: 'b', value: '3.25' },
      ],
    ],
  );
  equal([await r.hGetAll('none'), await r.hGet('none', 'a')], [{}, null]);
});

check('expiry of hash fields', async (r) => {
  await needs(r, 'HEXPIRE');
  await r.hSet('h', { a: 1, b: 2 });
  equal(
    [await r.hExpire('h', ['a', 'z'], 100), await r.hTTL('h', ['a', 'b', 'z'])],
    [
      [1, -2],
      [100, -1, -2],
    ],
  );
  equal([await r.hPersist('h', ['a', 'b']), await r.hpExpire('h', 'a', 1)], [[1, -1], [1]]);
  await eventually('the field expires', async () => (await r.hLen('h')) === 1);
});

check('sets', async (r) => {
  equal(
    [await r.sAdd('s', ['a', 'b', '3']), await r.sAdd('s', 'a'), (await r.sMembers('s')).sort()],
    [3, 0, ['3', 'a', 'b']],
  );
  await r.sAdd('t', ['b', 'c']);
  equal(
    [await r.sInter(['s', 't']), (await r.sUnion(['s', 't'])).sort(), (await r.sDiff(['s', 't'])).sort()],
    [['b'], ['3', 'a', 'b', 'c'], ['3', 'a']],
  );
  equal([await r.sInterStore('d', ['s', 't']), await r.sInterCard(['s', 't'], 5), await r.sCard('d')], [1, 1, 1]);
  equal(
    [
      await r.sIsMember('s', 'a'),
      await r.smIsMember('s', ['a', 'z']),
      await r.sMove('s', 't', 'a'),
      await r.sRem('s', ['b', 'z']),
    ],
    [1, [1, 0], 1, 1],
  );
  equal(
    [await r.sRandMember('s'), await r.sRandMemberCount('s', -2), await r.sPop('s'), await r.sPop('s')],
    ['3', ['3', '3'], '3', null],
  );
  equal((await r.sPopCount('t', 5)).sort(), ['a', 'b', 'c']);
});

check('sorted sets', async (r) => {
  const pair = (value, score) => ({ value, score });
  equal(
    [
      await r.zAdd('z', [pair('a', 1), pair('b', 2.5), pair('c', Infinity)]),
      await r.zAdd('z', pair('a', 3), { condition: 'NX' }),
    ],
    [3, 0],
  );
  equal(
    [await r.zAdd('z', pair('a', 3), { comparison: 'GT', CH: true }), await r.zAddIncr('z', pair('a', 0.5))],
    [1, 3.5],
  );
  equal(
    [await r.zScore('z', 'c'), await r.zmScore('z', ['a', 'x']), await r.zScore('z', 'x')],
    [Infinity, [3.5, null], null],
  );
  equal(await r.zRangeWithScores('z', 0, -1), [pair('b', 2.5), pair('a', 3.5), pair('c', Infinity)]);
  equal(await r.zRange('z', '(2.5', '+inf', { BY: 'SCORE', LIMIT: { offset: 0, count: 1 } }), ['a']);
  equal(
    [await r.zRank('z', 'a'), await r.zRevRank('z', 'b'), await r.zRank('z', 'x'), await r.zCount('z', 0, 3)],
    [1, 2, null, 1],
  );
  equal([await r.zIncrBy('z', -1, 'b'), await r.zRem('z', ['c', 'x']), await r.zCard('z')], [1.5, 1, 2]);
  await r.zAdd('y', [pair('b', 10), pair('d', 4)]);
  equal(await r.zUnionWithScores(['z', 'y']), [pair('a', 3.5), pair('d', 4), pair('b', 11.5)]);
  equal(
    await r.zInterWithScores(
      [
        { key: 'z', weight: 2 },
        { key: 'y', weight: 1 },
      ],
      { AGGREGATE: 'MAX' },
    ),
    [pair('b', 10)],
  );
  equal(
    [await r.zDiff(['z', 'y']), await r.zInterStore('x', ['z', 'y']), await r.zRangeStore('w', 'y', 0, 0)],
    [['a'], 1, 1],
  );
  equal([await r.zPopMin('y'), await r.zPopMaxCount('z', 5)], [pair('d', 4), [pair('a', 3.5), pair('b', 1.5)]]);
  equal(await r.zmPop(['z', 'y'], 'MIN'), { key: 'y', members: [pair('b', 10)] });
  await r.zAdd(
    'lex',
    ['a', 'b', 'c', 'd', 'e'].map((member) => pair(member, 0)),
  );
  equal(
    [
      await r.zRangeByLex('lex', '[b', '(d'),
      await r.zLexCount('lex', '-', '+'),
      await r.zRemRangeByLex('lex', '-', '[b'),
    ],
    [['b', 'c'], 5, 2],
  );
  equal([(await r.zRandMemberCountWithScores('lex', -7)).length, await r.zRemRangeByRank('lex', 0, 9)], [7, 3]);
});

check('expiry', async (r) => {
  await r.mSet({ a: '1', b: '1' });
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
  equal(
    [await r.expireAt('b', new Date(tomorrow * 1000)), await r.expireTime('b'), await r.pExpireTime('none')],
    [1, tomorrow, -2],
  );
  equal([await r.set('k', 'v', { expiration: { type: 'EX', value: 100 } }), await r.ttl('k')], ['OK', 100]);
  equal(
    [
      await r.set('k', 'w', { expiration: 'KEEPTTL' }),
      (await r.pTTL('k')) > 90_000,
      await r.getEx('k', { type: 'PERSIST' }),
      await r.ttl('k'),
    ],
    ['OK', true, 'w', -1],
  );
  equal([await r.setEx('k', 100, 'x'), await r.set('k', 'z', { expiration: { type: 'PX', value: 1 } })], ['OK', 'OK']);
  await eventually('the key expires', async () => (await r.get('k')) === null);
});

check('scan iterators', async (r) => {
  const pipe = r.multi();
  for (const n of upTo(2000))
    pipe
      .set(`k:${n}`, n)
      .hSet('h', `f${n}`, n)
      .sAdd('s', String(n))
      .zAdd('z', { value: `m${n}`, score: n });
  await pipe.execAsPipeline();
  equal(new Set(await collect(r.scanIterator())).size, 2003);
  equal(
    [...new Set(await collect(r.scanIterator({ MATCH: 'k:19?', COUNT: 100 })))].sort(),
    upTo(10).map((n) => `k:19${n}`),
  );
  equal(
    [await collect(r.scanIterator({ TYPE: 'hash' })), await collect(r.scanIterator({ TYPE: 'list' }))],
    [['h'], []],
  );
  equal(
    new Map((await collect(r.hScanIterator('h', { COUNT: 50 }))).map(({ field, value }) => [field, value])).get(
      'f1999',
    ),
    '1999',
  );
  equal(new Set(await collect(r.sScanIterator('s', { MATCH: '19?' }))).size, 10);
  equal(new Map((await collect(r.zScanIterator('z'))).map(({ value, score }) => [value, score])).size, 2000);
  equal((await r.keys('[hsz]')).sort(), ['h', 's', 'z']);
});

check('keys', async (r) => {
  await r.set('a', 'v');
  await r.rPush('l', '1');
  equal(
    [await r.type('a'), await r.type('l'), await r.type('none'), await r.exists(['a', 'a', 'x'])],
    ['string', 'list', 'none', 2],
  );
  equal(
    [
      await r.rename('a', 'b'),
      await r.renameNX('b', 'l'),
      await r.copy('b', 'c'),
      await r.touch(['b', 'x']),
      await r.unlink(['c', 'x']),
    ],
    ['OK', 0, 1, 1, 1],
  );
  const payload = await bytes(r).dump('b');
  equal([await r.restore('d', 100_000, payload), await r.get('d'), await r.ttl('d')], ['OK', 'v', 100]);
  await fails(ErrorReply, 'BUSYKEY Target key name already exists.', r.restore('d', 0, payload));
  equal(
    [
      await r.copy('b', 'b', { DB: 1 }),
      await r.move('l', 1),
      await r.swapDb(0, 1),
      await r.dbSize(),
      await r.del(['b', 'x']),
      await r.flushDb(),
    ],
    [1, 1, 'OK', 2, 1, 'OK'],
  );
});

check('geo', async (r) => {
  equal(
    await r.geoAdd('g', [
      { longitude: 13.361389, latitude: 38.115556, member: 'Palermo' },
      { longitude: 15.087269, latitude: 37.502669, member: 'Catania' },
    ]),
    2,
  );
  holds(Math.abs((await r.geoDist('g', 'Palermo', 'Catania', 'km')) - 166.2742) < 0.001, 'the distance');
  equal(
    [await r.geoHash('g', 'Palermo'), await r.geoPos('g', 'none'), await r.geoDist('g', 'Palermo', 'none')],
    [['sqc8b49rny0'], [null], null],
  );
  equal(await r.geoSearch('g', { longitude: 15, latitude: 37 }, { radius: 100, unit: 'km' }), ['Catania']);
  const found = await r.geoSearchWith(
    'g',
    'Palermo',
    { width: 400, height: 400, unit: 'km' },
    ['WITHDIST', 'WITHCOORD'],
    { SORT: 'DESC' },
  );
  equal(
    found.map(({ member, distance }) => [member, Math.round(Number(distance))]),
    [
      ['Catania', 166],
      ['Palermo', 0],
    ],
  );
  holds(Math.abs(Number(found[0].coordinates.longitude) - 15.087269) < 1e-5, 'the position');
});

check('bitmaps and bit fields', async (r) => {
  equal(
    [await r.setBit('b', 7, 1), await r.setBit('b', 7, 0), await r.setBit('b', 9, 1), await r.getBit('b', 9)],
    [0, 1, 0, 1],
  );
  equal(
    [
      await r.bitCount('b'),
      await r.bitCount('b', { start: 8, end: 15, mode: 'BIT' }),
      await r.bitPos('b', 1),
      await r.bitOp('NOT', 'n', 'b'),
      await r.bitCount('n'),
    ],
    [1, 1, 9, 2, 15],
  );
  const add = (encoding, offset, increment) => ({ operation: 'INCRBY', encoding, offset, increment });
  const overflow = (behavior) => ({ operation: 'OVERFLOW', behavior });
  equal(
    await r.bitField('f', [
      { operation: 'SET', encoding: 'u8', offset: '#0', value: 250 },
      overflow('FAIL'),
      add('u8', '#0', 10),
      overflow('SAT'),
      add('u8', 0, 10),
    ]),
    [0, null, 255],
  );
  equal(
    await r.bitFieldRo('f', [
      { encoding: 'u8', offset: 0 },
      { encoding: 'i4', offset: 4 },
    ]),
    [255, -1],
  );
});

check('HyperLogLog', async (r) => {
  equal(
    [
      await r.pfAdd('p', upTo(1000).map(String)),
      await r.pfAdd('p', '5'),
      await r.pfAdd(
        'q',
        upTo(1500).map((n) => String(n + 500)),
      ),
    ],
    [1, 0, 1],
  );
  holds(Math.abs((await r.pfCount(['p', 'q'])) - 2000) < 60, 'about 2000');
  equal([await r.pfMerge('m', ['p', 'q']), (await r.pfCount('m')) === (await r.pfCount(['p', 'q']))], ['OK', true]);
});

check('SORT', async (r) => {
  await r.rPush('l', ['3', '1', '2']);
  await r.mSet({ 'w:1': '30', 'w:2': '20', 'w:3': '10', 'n:1': 'one' });
  equal(
    [
      await r.sort('l'),
      await r.sort('l', { DIRECTION: 'DESC', LIMIT: { offset: 0, count: 2 } }),
      await r.sort('l', { BY: 'w:*' }),
    ],
    [
      ['1', '2', '3'],
      ['3', '2'],
      ['3', '2', '1'],
    ],
  );
  equal(
    [
      await r.sort('l', { GET: ['#', 'n:*'] }),
      await r.sortStore('l', 'd'),
      await r.sortRo('d', { ALPHA: true, DIRECTION: 'DESC' }),
    ],
    [['1', 'one', '2', null, '3', null], 3, ['3', '2', '1']],
  );
});
