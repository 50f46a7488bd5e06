// The basic use of node-redis against a server: node node_redis.mjs HOST PORT SOCKET PROTOCOL
//
// Every check starts with an empty server and a client of its own; clients that it opens are closed behind it.
// Left out: scripts and functions, cluster mode and modules, which the server does not have; Sentinel, which has tests
// of its own.

import {
  ErrorReply,
  MultiErrorReply,
  SocketClosedUnexpectedlyError,
  WatchError,
  createClient,
  createClientPool,
} from 'redis';
import { atLeast, equal, eventually, fails, holds, noPermission, upTo } from './check.mjs';
import {
  blocked,
  check,
  checks,
  closeAll,
  connect,
  field,
  fresh,
  host,
  library,
  opened,
  port,
  protocol,
  socketPath,
  version,
} from './node_redis_setup.mjs';
import './node_redis_values.mjs'; // registers its checks

// --- Connections ----------------------------------------------------------------------------------------------------

check('handshake', async (r) => {
  equal([await r.ping(), await r.echo('häh'), r.isReady], ['PONG', 'häh', true]);
  const named = await connect({ name: 'counter', database: 3 });
  const me = await named.clientInfo();
  equal([me.name, me.db, me.resp ?? protocol], ['counter', 3, protocol]);
  if (atLeast(version, 7, 2)) equal([me.libName, me.libVer], ['node-redis', library]);
  await named.set('here', 1);
  equal([await r.exists('here'), await r.dbSize()], [0, 0]);
  equal((await r.clientList()).length, 2);
  await named.select(0);
  equal(await named.exists('here'), 0);
  if (protocol === 3) equal((await r.hello(3)).proto, 3);
});

check('Unix socket and URLs', async (r) => {
  const local = await connect({ socket: { path: socketPath, host: undefined, port: undefined } });
  equal([await local.set('k', 'v'), await r.get('k')], ['OK', 'v']);
  const byUrl = createClient({ url: `redis://${host}:${port}/2`, RESP: protocol });
  opened.push(byUrl);
  await byUrl.connect();
  equal([await byUrl.get('k'), await byUrl.set('k', 2), await r.get('k')], [null, 'OK', 'v']);
});

check('connection pool with many tasks', async (r) => {
  const pool = createClientPool(
    { RESP: protocol, socket: { host, port } },
    { minimum: 2, maximum: 6, acquireTimeout: 10_000 },
  );
  pool.on('error', () => {});
  await pool.connect();
  await Promise.all(
    upTo(200).map(async (n) => {
      await pool.set(`k${n}`, n);
      equal(await pool.get(`k${n}`), String(n));
      await pool.incr('all');
      await pool.execute(async (client) => client.multi().incr('all').incr('all').exec());
    }),
  );
  equal([await r.get('all'), await r.dbSize(), pool.totalClients], ['600', 201, 6]);
  const waits = pool.execute((client) => client.blPop('queue', 5));
  await blocked(r);
  await pool.rPush('queue', 'job');
  equal(await waits, { key: 'queue', element: 'job' });
  await pool.close();
  await eventually('the pool is closed', async () => (await r.clientList()).length === 1);
});

check('reconnect after CLIENT KILL', async (r) => {
  const victim = await connect({ name: 'victim', socket: { reconnectStrategy: 10 } });
  await victim.set('k', 1);
  const id = await victim.clientId();
  const errors = [];
  victim.on('error', (error) => errors.push(error));
  equal(await r.clientKill({ filter: 'ID', id }), 1);
  await eventually('reconnected', () => errors.length === 1 && victim.isReady);
  holds(errors[0] instanceof SocketClosedUnexpectedlyError, `the error of the connection: ${errors[0]}`);
  equal([await victim.get('k'), await victim.clientGetName(), (await victim.clientId()) !== id], ['1', 'victim', true]);
  // What is under way fails.
  const waits = victim.blPop('none', 0);
  await blocked(r);
  await Promise.all([
    fails(SocketClosedUnexpectedlyError, 'Socket closed unexpectedly', waits),
    victim.clientId().then(
      () => {},
      () => {},
    ),
    r.clientKill({ filter: 'TYPE', type: 'normal' }),
  ]);
});

check('close waits for replies', async () => {
  const client = await connect();
  const replies = Promise.all(upTo(1000).map((n) => client.incrBy('n', n)));
  await client.close();
  equal((await replies).at(-1), 499500);
});

// --- Pipelines and transactions -------------------------------------------------------------------------------------

check('pipelines', async (r) => {
  const replies = await Promise.all(upTo(10_000).map(() => r.incr('n')));
  equal(
    replies,
    upTo(10_000).map((n) => n + 1),
  );
  equal(await r.multi().set('s', 'text').get('s').execAsPipeline(), ['OK', 'text']);
  const mixed = await Promise.allSettled([r.set('s', 'text'), r.lPush('s', '1'), r.get('s')]);
  equal(
    mixed.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
});

check('transactions', async (r) => {
  equal(await r.multi().set('a', 1).incr('a').get('a').mGet(['a', 'b']).exec(), ['OK', 2, '2', ['2', null]]);
  const error = await fails(MultiErrorReply, '1 commands failed', r.multi().lPush('a', '1').incr('a').exec());
  equal([error.errorIndexes, error.replies[1]], [[0], 3]);
  await fails(ErrorReply, "ERR unknown command 'NOSUCH'", r.multi().incr('a').addCommand(['NOSUCH']).exec());
  equal(await r.get('a'), '3');
});

check('WATCH and retry', async (r) => {
  await r.set('n', 10);
  const add = async (client) => {
    for (let done = 0; done < 25;) {
      await client.watch('n');
      const value = Number(await client.get('n'));
      try {
        await client
          .multi()
          .set('n', value + 1)
          .exec();
        done += 1;
      } catch (error) {
        if (!(error instanceof WatchError)) throw error;
      }
    }
  };
  await Promise.all((await Promise.all(upTo(4).map(() => connect()))).map(add));
  equal(await r.get('n'), '110');
  await r.watch('n');
  await (await connect()).set('n', 0);
  await fails(WatchError, 'One (or more) of the watched keys has been changed', r.multi().incr('n').exec());
});

// --- Messages -------------------------------------------------------------------------------------------------------

check('pub/sub', async (r) => {
  const listener = await connect();
  const got = [];
  await listener.subscribe(['news', 'other'], (message, channel) => got.push(['message', message, channel]));
  await listener.pSubscribe('n?ws', (message, channel) => got.push(['pattern', message, channel]));
  equal([await r.publish('news', 'hällo'), await r.publish('nobody', 'x')], [2, 0]);
  await eventually('two messages', () => got.length === 2);
  equal(got, [
    ['message', 'hällo', 'news'],
    ['pattern', 'hällo', 'news'],
  ]);
  equal(
    [(await r.pubSubChannels()).sort(), await r.pubSubNumSub(['news', 'x']), await r.pubSubNumPat()],
    [['news', 'other'], { news: 1, x: 0 }, 1],
  );
  const raw = [];
  await listener.subscribe('bytes', (message) => raw.push(message), true);
  await r.publish('bytes', Buffer.from([255, 0, 13, 10]));
  await eventually('a message', () => raw.length === 1);
  equal(raw[0], Buffer.from([255, 0, 13, 10]));
  equal(await listener.ping(), protocol === 3 ? 'PONG' : 'pong');
  // With RESP3 a subscriber may send any command; with RESP2 the client refuses it or the server does.
  if (protocol === 3) equal([await listener.set('k', 'v'), await listener.get('k')], ['OK', 'v']);
  await listener.unsubscribe();
  await listener.pUnsubscribe('n?ws');
  equal(
    [await r.publish('news', 'x'), (await listener.set('k', 'w')).toString(), listener.isPubSubActive],
    [0, 'OK', false],
  );
});

check('many messages in order', async (r) => {
  const listeners = await Promise.all(upTo(5).map(() => connect()));
  const got = listeners.map(() => []);
  await Promise.all(listeners.map((listener, n) => listener.subscribe('news', (message) => got[n].push(message))));
  await Promise.all(upTo(2000).map((n) => r.publish('news', String(n))));
  await eventually('all messages', () => got.every((all) => all.length === 2000));
  for (const all of got) equal(all, upTo(2000).map(String));
});

check('sharded pub/sub', async (r) => {
  const listener = await connect();
  const got = [];
  await listener.sSubscribe('orders', (message, channel) => got.push([message, channel]));
  equal(
    [await r.sPublish('orders', 'one'), await r.publish('orders', 'none'), await r.pubSubShardChannels()],
    [1, 0, ['orders']],
  );
  await eventually('a message', () => got.length === 1);
  await listener.sUnsubscribe('orders');
  equal(
    [got, await r.sPublish('orders', 'two'), await r.pubSubShardNumSub(['orders'])],
    [[['one', 'orders']], 0, { orders: 0 }],
  );
});

check('a subscriber comes back after CLIENT KILL', async (r) => {
  const listener = await connect({ socket: { reconnectStrategy: 10 } });
  const got = [];
  await listener.subscribe('news', (message) => got.push(message));
  await listener.pSubscribe('p*', () => {});
  equal(await r.clientKill({ filter: 'TYPE', type: 'pubsub' }), 1);
  await eventually('a message on a new connection', async () => {
    await r.publish('news', 'again');
    return got.length > 0;
  });
  equal([got[0], await r.pubSubNumPat()], ['again', 1]);
});

check('keyspace notifications', async (r) => {
  await r.configSet('notify-keyspace-events', 'KEA');
  const listener = await connect();
  const got = [];
  await listener.pSubscribe('__key*@0__:*', (message, channel) => got.push([channel, message]));
  await r.set('k', 'v', { expiration: { type: 'EX', value: 100 } });
  await r.del('k');
  await eventually('six messages', () => got.length === 6);
  equal(
    got,
    ['set', 'expire', 'del'].flatMap((event) => [
      ['__keyspace@0__:k', event],
      [`__keyevent@0__:${event}`, 'k'],
    ]),
  );
  await r.configSet('notify-keyspace-events', '');
});

// --- Streams and blocking commands ----------------------------------------------------------------------------------

check('streams', async (r) => {
  const first = await r.xAdd('x', '*', { a: '1', b: 'ü' });
  equal(await r.xAdd('x', '9999999999999-1', { a: '2' }), '9999999999999-1');
  const strip = (entries) => entries.map(({ id, message }) => [id, message]);
  equal(strip(await r.xRange('x', '-', '+')), [
    [first, { a: '1', b: 'ü' }],
    ['9999999999999-1', { a: '2' }],
  ]);
  equal(
    [await r.xLen('x'), strip(await r.xRevRange('x', '+', '-', { COUNT: 1 })), await r.xDel('x', first)],
    [2, [['9999999999999-1', { a: '2' }]], 1],
  );
  await fails(
    ErrorReply,
    'The ID specified in XADD is equal or smaller than the target stream top item',
    r.xAdd('x', '1-1', { a: '1' }),
  );
  const [{ name, messages }] = await r.xRead([
    { key: 'x', id: '0' },
    { key: 'none', id: '0' },
  ]);
  equal([name, strip(messages)], ['x', [['9999999999999-1', { a: '2' }]]]);
  await Promise.all(
    upTo(300).map((n) =>
      r.xAdd(
        't',
        `${n + 1}-0`,
        { n: String(n) },
        { TRIM: { strategy: 'MAXLEN', strategyModifier: '=', threshold: 100 } },
      ),
    ),
  );
  equal([await r.xLen('t'), await r.xTrim('t', 'MINID', 290), await r.xLen('t')], [100, 89, 11]);
  const info = await r.xInfoStream('t');
  equal([info.length, info['last-generated-id'], info['first-entry'].id], [11, '300-0', '290-0']);
});

check('consumer groups', async (r) => {
  equal(await r.xGroupCreate('x', 'g', '$', { MKSTREAM: true }), 'OK');
  await fails(ErrorReply, 'BUSYGROUP Consumer Group name already exists', r.xGroupCreate('x', 'g', '$'));
  await fails(
    ErrorReply,
    "NOGROUP No such key 'y' or consumer group 'g'",
    r.xReadGroup('g', 'ann', { key: 'y', id: '>' }),
  );
  for (const n of upTo(5)) await r.xAdd('x', `${n + 1}-0`, { n: String(n + 1) });
  const ids = (reply) => reply[0].messages.map(({ id }) => id);
  equal(ids(await r.xReadGroup('g', 'ann', { key: 'x', id: '>' }, { COUNT: 2 })), ['1-0', '2-0']);
  equal(ids(await r.xReadGroup('g', 'bob', { key: 'x', id: '>' })), ['3-0', '4-0', '5-0']);
  equal(
    [await r.xReadGroup('g', 'bob', { key: 'x', id: '>' }), await r.xAck('x', 'g', ['1-0', '3-0', '9-9'])],
    [null, 2],
  );
  equal(await r.xPending('x', 'g'), {
    pending: 3,
    firstId: '2-0',
    lastId: '5-0',
    consumers: [
      { name: 'ann', deliveriesCounter: 1 },
      { name: 'bob', deliveriesCounter: 2 },
    ],
  });
  equal(
    (await r.xPendingRange('x', 'g', '-', '+', 10, { consumer: 'bob' })).map((p) => [
      p.id,
      p.consumer,
      p.deliveriesCounter,
    ]),
    [
      ['4-0', 'bob', 1],
      ['5-0', 'bob', 1],
    ],
  );
  equal(
    (await r.xClaim('x', 'g', 'ann', 0, '4-0')).map(({ id }) => id),
    ['4-0'],
  );
  await r.xDel('x', '5-0');
  const taken = await r.xAutoClaim('x', 'g', 'cid', 0, '0-0', { COUNT: 10 });
  equal(
    [taken.nextId, taken.messages.map(({ id, message }) => [id, message]), taken.deletedMessages],
    [
      '0-0',
      [
        ['2-0', { n: '2' }],
        ['4-0', { n: '4' }],
      ],
      ['5-0'],
    ],
  );
  const [group] = await r.xInfoGroups('x');
  equal([group.name, group.consumers, group.pending, group['last-delivered-id']], ['g', 3, 2, '5-0']);
  equal(Object.fromEntries((await r.xInfoConsumers('x', 'g')).map(({ name, pending }) => [name, pending])), {
    ann: 0,
    bob: 0,
    cid: 2,
  });
  equal(
    [await r.xGroupDelConsumer('x', 'g', 'cid'), await r.xGroupSetId('x', 'g', '0'), await r.xGroupDestroy('x', 'g')],
    [2, 'OK', 1],
  );
});

check('workers of a consumer group', async (r) => {
  await r.xGroupCreate('jobs', 'workers', '$', { MKSTREAM: true });
  const done = [];
  const worker = async (n) => {
    const client = await connect();
    while (done.length < 500) {
      const reply = await client.xReadGroup('workers', `w${n}`, { key: 'jobs', id: '>' }, { COUNT: 7, BLOCK: 50 });
      for (const { id, message } of reply?.[0].messages ?? []) {
        equal(await client.xAck('jobs', 'workers', id), 1);
        done.push(Number(message.job));
      }
    }
  };
  await Promise.all([...upTo(4).map(worker), ...upTo(500).map((n) => r.xAdd('jobs', '*', { job: String(n) }))]);
  equal([done.sort((a, b) => a - b), (await r.xPending('jobs', 'workers')).pending], [upTo(500), 0]);
});

check('blocking commands that time out', async (r) => {
  const start = performance.now();
  equal(
    [
      await r.blPop('none', 0.05),
      await r.brPop(['none', 'n2'], 0.05),
      await r.blMove('none', 'd', 'LEFT', 'LEFT', 0.05),
      await r.blmPop(0.05, 'none', 'LEFT'),
    ],
    [null, null, null, null],
  );
  equal(
    [
      await r.bzPopMin('none', 0.05),
      await r.bzmPop(0.05, 'none', 'MAX'),
      await r.xRead({ key: 'none', id: '$' }, { BLOCK: 50 }),
    ],
    [null, null, null],
  );
  const took = performance.now() - start;
  holds(took >= 300 && took < 5000, `each waits for its time: ${took} ms`);
});

check('blocking commands that are served', async (r) => {
  const client = await connect();
  const served = async (call, serve, expected) => {
    const waits = call();
    await blocked(r);
    await serve();
    equal(await waits, expected);
    await blocked(r, 0);
  };
  await served(
    () => client.blPop(['a', 'b'], 10),
    () => r.rPush('b', 'v'),
    { key: 'b', element: 'v' },
  );
  await served(
    () => client.brPop('a', 10),
    () => r.rPush('a', ['1', '2']),
    { key: 'a', element: '2' },
  );
  await served(
    () => client.blMove('q', 'd', 'LEFT', 'RIGHT', 10),
    () => r.lPush('q', 'x'),
    'x',
  );
  await served(
    () => client.blmPop(10, ['q', 'p'], 'LEFT', { COUNT: 3 }),
    () => r.rPush('p', ['1', '2']),
    ['p', ['1', '2']],
  );
  await served(
    () => client.bzPopMin('z', 10),
    () => r.zAdd('z', { value: 'm', score: 1.5 }),
    { key: 'z', value: 'm', score: 1.5 },
  );
  await served(
    () => client.bzmPop(10, 'z', 'MAX'),
    () => r.zAdd('z', { value: 'm', score: 1 }),
    { key: 'z', members: [{ value: 'm', score: 1 }] },
  );
  const read = client.xRead({ key: 'x', id: '$' }, { BLOCK: 10_000 });
  await blocked(r);
  await r.xAdd('x', '1-1', { f: '1' });
  equal(
    (await read)[0].messages.map(({ id, message }) => [id, message]),
    [['1-1', { f: '1' }]],
  );
});

// --- Users and errors -----------------------------------------------------------------------------------------------

check('users with limited rights', async (r) => {
  equal(
    await r.aclSetUser('reader', [
      'reset',
      'on',
      '>pass',
      '~cache:*',
      'resetchannels',
      '&news',
      '+@read',
      '+@pubsub',
      '+@connection',
      '+incr',
      '-keys',
    ]),
    'OK',
  );
  const user = await connect({ username: 'reader', password: 'pass' });
  await r.set('cache:a', 1);
  equal([await user.get('cache:a'), await user.incr('cache:a'), await user.publish('news', '1')], ['1', 2, 0]);
  const texts = noPermission(version, 'reader');
  await fails(ErrorReply, texts.command('set'), user.set('cache:a', 2));
  await fails(ErrorReply, texts.key, user.get('other'));
  await fails(ErrorReply, texts.command('keys'), user.keys('*'));
  await fails(ErrorReply, texts.channel, user.publish('other', '1'));
  const about = await r.aclGetUser('reader');
  holds(
    about.flags.includes('on') &&
      about.keys === '~cache:*' &&
      about.channels === '&news' &&
      about.commands.includes('+incr'),
    JSON.stringify(about),
  );
  const [entry] = await r.aclLog();
  equal([entry.reason, entry.object, entry.username], ['channel', 'other', 'reader']);
  equal(
    [await r.aclLogReset(), (await r.aclUsers()).sort(), await r.aclWhoAmI(), (await r.aclGenPass()).length],
    ['OK', ['default', 'reader'], 'default', 64],
  );
  holds(
    (await r.aclCat('read')).includes('get') && (await r.aclList()).some((line) => line.startsWith('user reader on ')),
    'lists',
  );
  await fails(
    ErrorReply,
    'WRONGPASS invalid username-password pair or user is disabled.',
    connect({ username: 'reader', password: 'wrong', socket: { reconnectStrategy: false } }),
  );
  equal([await r.auth({ username: 'reader', password: 'pass' }), await r.get('cache:a')], ['OK', '2']);
  await (await connect()).aclDelUser('reader');
});

check('password of the default user', async (r) => {
  await r.configSet('requirepass', 'secret');
  try {
    await fails(
      ErrorReply,
      'NOAUTH',
      connect({ socket: { reconnectStrategy: false } }).then((client) => client.get('k')),
    );
    equal(await (await connect({ password: 'secret' })).set('k', 1), 'OK');
  } finally {
    await r.configSet('requirepass', '');
  }
});

check('errors', async (r) => {
  await r.set('s', 'text');
  await fails(ErrorReply, 'WRONGTYPE Operation against a key holding the wrong kind of value', r.lPush('s', '1'));
  await fails(ErrorReply, 'ERR value is not an integer or out of range', r.incr('s'));
  await fails(
    ErrorReply,
    "ERR unknown command 'NOSUCH', with args beginning with: 'a' ",
    r.sendCommand(['NOSUCH', 'a']),
  );
  await fails(ErrorReply, "ERR wrong number of arguments for 'get' command", r.sendCommand(['GET']));
  await r.configSet('maxmemory', '1');
  await fails(ErrorReply, "OOM command not allowed when used memory > 'maxmemory'.", r.set('k', 'v'));
  await r.configSet('maxmemory', '0');
  await r.replicaOf(host, 1);
  try {
    await fails(ErrorReply, "READONLY You can't write against a read only replica.", r.set('k', 'v'));
  } finally {
    await r.sendCommand(['REPLICAOF', 'NO', 'ONE']);
  }
  equal([await r.set('k', 'v'), (await r.role()).role], ['OK', 'master']);
});

// --- The server -----------------------------------------------------------------------------------------------------

check('INFO, CONFIG, MEMORY, OBJECT', async (r) => {
  await r.set('k', 'v', { expiration: { type: 'EX', value: 1000 } });
  const info = await r.info();
  equal(
    [field(info, 'tcp_port'), field(info, 'role'), field(info, 'db0').startsWith('keys=1,expires=1')],
    [String(port), 'master', true],
  );
  equal(
    [
      await r.configSet({ 'hash-max-listpack-entries': '7', 'hash-max-listpack-value': '65' }),
      await r.configGet('hash-max-listpack-*'),
    ],
    ['OK', { 'hash-max-listpack-entries': '7', 'hash-max-listpack-value': '65' }],
  );
  await r.configSet({ 'hash-max-listpack-entries': '512', 'hash-max-listpack-value': '64' });
  await fails(
    ErrorReply,
    "Unknown option or number of arguments for CONFIG SET - 'nosuch'",
    r.configSet('nosuch', '1'),
  );
  equal(await r.configResetStat(), 'OK');
  await r.hSet('h', Object.fromEntries(upTo(1000).map((n) => [`f${n}`, 'v'])));
  holds(
    (await r.memoryUsage('h')) > (await r.memoryUsage('k')) && (await r.memoryUsage('none')) === null,
    'MEMORY USAGE',
  );
  const stats = await r.memoryStats();
  holds(
    stats['peak.allocated'] > 0 && stats['keys.count'] === 2 && typeof stats['dataset.percentage'] === 'number',
    'MEMORY STATS',
  );
  equal(
    [
      await r.objectEncoding('h'),
      await r.objectRefCount('k'),
      (await r.objectIdleTime('k')) < 60,
      await r.objectEncoding('none'),
    ],
    ['hashtable', 1, true, null],
  );
});

check('commands about the server', async (r) => {
  const [seconds] = await r.time();
  holds(Math.abs(Number(seconds) - Date.now() / 1000) < 60, 'the time');
  const [get, none] = await r.commandInfo(['GET', 'nosuch']);
  equal([get.name, get.arity, get.flags.has('readonly'), none], ['get', 2, true, null]);
  const all = await r.command();
  equal([await r.commandCount(), await r.commandGetKeys(['MSET', 'a', '1', 'b', '2'])], [all.length, ['a', 'b']]);
  equal(
    [typeof (await r.lastSave()), await r.latencyReset(), await r.wait(0, 10), await r.clientNoEvict(true)],
    ['number', 0, 0, 'OK'],
  );
  const heard = [];
  await (await connect()).monitor((line) => heard.push(line));
  await r.set('seen', 'x');
  await eventually('MONITOR sees it', () => heard.some((line) => /^\d+\.\d{6} \[0 .*\] "SET" "seen" "x"$/.test(line)));
});

// --- Client-side caching --------------------------------------------------------------------------------------------

if (protocol === 3) {
  check('client-side caching', async (r) => {
    const caching = await connect({ clientSideCache: { ttl: 0, maxEntries: 100, evictPolicy: 'LRU' } });
    await r.mSet({ k: 'old', l: '1' });
    equal(
      [await caching.get('k'), await caching.get('k'), await caching.get('k'), await caching.get('l')],
      ['old', 'old', 'old', '1'],
    );
    const { hitCount, missCount } = caching.clientSideCache.stats();
    equal([hitCount, missCount], [2, 2]);
    await r.set('k', 'new');
    await eventually('the cache hears of the change', async () => (await caching.get('k')) === 'new');
    await r.flushAll();
    await eventually('the cache hears of FLUSHALL', async () => (await caching.get('l')) === null);
  });

  check('invalidations as events', async (r) => {
    const tracking = await connect({ emitInvalidate: true });
    const got = [];
    tracking.on('invalidate', (key) => got.push(key));
    await r.set('k', 'v');
    await tracking.get('k');
    await r.set('k', 'w');
    await eventually('an event', () => got.length === 1);
    equal(got[0].toString(), 'k');
  });
}

await checks.run(40, fresh, closeAll);
