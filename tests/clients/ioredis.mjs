// The basic use of ioredis against a server: node ioredis.mjs HOST PORT SOCKET PROTOCOL
//
// Every check starts with an empty server and a client of its own; clients that it opens are closed behind it.
// The replies are those of the default mapping, which are the same in RESP2 and RESP3; one check looks at the other.
// Left out: scripts (defineCommand) and cluster mode, which the server does not have; Sentinel, which has tests of its
// own.

import { Redis, ReplyError } from 'ioredis';
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
  pairs,
  port,
  protocol,
  socketPath,
  version,
} from './ioredis_setup.mjs';
import './ioredis_values.mjs'; // registers its checks

// --- Connections ----------------------------------------------------------------------------------------------------

check('handshake', async (r) => {
  equal([await r.ping(), await r.ping('häh'), await r.echo('häh'), r.status], ['PONG', 'häh', 'häh', 'ready']);
  const named = await connect({ connectionName: 'counter', db: 3 });
  const me = Object.fromEntries(
    (await named.client('INFO'))
      .trim()
      .split(' ')
      .map((part) => part.split(/=(.*)/s)),
  );
  equal([me.name, me.db, me.resp], ['counter', '3', String(protocol)]);
  // The library announces itself without waiting for the reply.
  if (atLeast(version, 7, 2))
    await eventually('lib-name', async () =>
      (await named.client('INFO')).includes(`lib-name=ioredis lib-ver=${library}`),
    );
  await named.set('here', 1);
  equal([await r.exists('here'), await r.dbsize(), await named.select(0), await named.exists('here')], [0, 0, 'OK', 0]);
});

check('Unix socket and URLs', async (r) => {
  const local = await connect({ path: socketPath });
  equal([await local.set('k', 'v'), await r.get('k')], ['OK', 'v']);
  const byUrl = new Redis(`redis://${host}:${port}/2`, { protocol });
  opened.push(byUrl);
  equal([await byUrl.get('k'), await byUrl.set('k', 2), await r.get('k')], [null, 'OK', 'v']);
});

check('offline queue and ready check', async (r) => {
  const client = new Redis({ host, port, protocol });
  opened.push(client);
  // Sent before there is a connection.
  equal(await Promise.all([client.set('k', 1), client.incr('k'), client.get('k')]), ['OK', 2, '2']);
  equal([await client.quit(), await r.get('k')], ['OK', '2']);
  await eventually('closed', () => client.status === 'end');
  await fails(Error, 'Connection is closed.', client.get('k'));
});

check('reconnect after CLIENT KILL', async (r) => {
  const victim = await connect({ connectionName: 'victim', retryStrategy: () => 10 });
  await victim.set('k', 1);
  const id = await victim.client('ID');
  const again = new Promise((resolve) => victim.once('ready', resolve));
  equal(await r.client('KILL', 'ID', id), 1);
  await again;
  equal(
    [await victim.get('k'), await victim.client('GETNAME'), (await victim.client('ID')) !== id],
    ['1', 'victim', true],
  );
  // What was under way is sent again.
  const waits = victim.blpop('queue', 0);
  await blocked(r);
  await r.client(
    'KILL',
    'ID',
    await eventually(
      'the blocked client',
      async () => (await r.client('LIST')).match(/id=(\d+) [^\n]*name=victim/)?.[1],
    ),
  );
  await eventually('reconnected', () => victim.status === 'ready');
  await r.rpush('queue', 'job');
  equal(await waits, ['queue', 'job']);
});

check('many clients at once', async (r) => {
  const clients = await Promise.all(upTo(50).map(() => connect()));
  await Promise.all(
    clients.map(async (client, n) => {
      for (const i of upTo(20)) {
        await client.set(`${n}:${i}`, i);
        equal(await client.get(`${n}:${i}`), String(i));
        await client.incr('all');
      }
    }),
  );
  equal([await r.get('all'), await r.dbsize()], ['1000', 1001]);
});

check('key prefix', async (r) => {
  const client = await connect({ keyPrefix: 'app:' });
  equal([await client.set('k', 'v'), await client.mget('k', 'l'), await r.keys('*')], ['OK', ['v', null], ['app:k']]);
  equal(
    [await client.zadd('z', 1, 'a'), await client.zunionstore('d', 2, 'z', 'y'), await client.sort('d', 'BY', 'w:*')],
    [1, 1, ['a']],
  );
});

// --- Pipelines and transactions -------------------------------------------------------------------------------------

check('pipelines', async (r) => {
  const pipe = r.pipeline();
  for (const _ of upTo(10_000)) pipe.incr('n');
  equal(
    await pipe.exec(),
    upTo(10_000).map((n) => [null, n + 1]),
  );
  const [first, second, third] = await r
    .pipeline([
      ['set', 's', 'text'],
      ['lpush', 's', 1],
      ['get', 's'],
    ])
    .exec();
  equal([first, second[0] instanceof ReplyError, third], [[null, 'OK'], true, [null, 'text']]);
  const automatic = await connect({ enableAutoPipelining: true });
  equal((await Promise.all(upTo(1000).map((n) => automatic.incrby('sum', n)))).at(-1), 499500);
});

check('transactions', async (r) => {
  equal(await r.multi().set('a', 1).incr('a').mget('a', 'b').exec(), [
    [null, 'OK'],
    [null, 2],
    [null, ['2', null]],
  ]);
  const [failed, passed] = await r.multi().lpush('a', 1).incr('a').exec();
  equal([failed[0].message, passed], ['WRONGTYPE Operation against a key holding the wrong kind of value', [null, 3]]);
  await fails(
    ReplyError,
    'EXECABORT Transaction discarded because of previous errors.',
    r.multi().call('nosuch').incr('a').exec(),
  );
  equal(
    [await r.get('a'), await r.multi({ pipeline: false }), await r.incr('a'), await r.exec()],
    ['3', 'OK', 'QUEUED', [[null, 4]]],
  );
});

check('WATCH and retry', async (r) => {
  await r.set('n', 10);
  const add = async (client) => {
    for (let done = 0; done < 25;) {
      await client.watch('n');
      const value = Number(await client.get('n'));
      if (
        (await client
          .multi()
          .set('n', value + 1)
          .exec()) !== null
      )
        done += 1;
    }
  };
  await Promise.all((await Promise.all(upTo(4).map(() => connect()))).map(add));
  equal(await r.get('n'), '110');
});

// --- Messages -------------------------------------------------------------------------------------------------------

check('pub/sub', async (r) => {
  const listener = await connect();
  const got = [];
  listener.on('message', (channel, message) => got.push(['message', channel, message]));
  listener.on('pmessage', (pattern, channel, message) => got.push([pattern, channel, message]));
  equal([await listener.subscribe('news', 'other'), await listener.psubscribe('n?ws')], [2, 3]);
  equal([await r.publish('news', 'hällo'), await r.publish('nobody', 'x')], [2, 0]);
  await eventually('two messages', () => got.length === 2);
  equal(got, [
    ['message', 'news', 'hällo'],
    ['n?ws', 'news', 'hällo'],
  ]);
  equal(
    [(await r.pubsub('CHANNELS')).sort(), await r.pubsub('NUMSUB', 'news', 'x'), await r.pubsub('NUMPAT')],
    [['news', 'other'], ['news', 1, 'x', 0], 1],
  );
  const raw = new Promise((resolve) => listener.once('messageBuffer', (_, message) => resolve(message)));
  await r.publish('other', Buffer.from([255, 0, 13, 10]));
  equal(await raw, Buffer.from([255, 0, 13, 10]));
  equal(
    [
      await listener.unsubscribe('news', 'other'),
      await listener.punsubscribe('n?ws'),
      await r.publish('news', 'x'),
      await listener.set('k', 'w'),
    ],
    [1, 0, 0, 'OK'],
  );
});

check('many messages in order', async (r) => {
  const listeners = await Promise.all(upTo(5).map(() => connect()));
  const got = listeners.map(() => []);
  await Promise.all(
    listeners.map((listener, n) => {
      listener.on('message', (_, message) => got[n].push(message));
      return listener.subscribe('news');
    }),
  );
  await Promise.all(upTo(2000).map((n) => r.publish('news', n)));
  await eventually('all messages', () => got.every((all) => all.length === 2000));
  for (const all of got) equal(all, upTo(2000).map(String));
});

check('sharded pub/sub', async (r) => {
  const listener = await connect();
  const got = [];
  listener.on('smessage', (channel, message) => got.push([channel, message]));
  equal(
    [await listener.ssubscribe('orders'), await r.spublish('orders', 'one'), await r.publish('orders', 'none')],
    [1, 1, 0],
  );
  await eventually('a message', () => got.length === 1);
  equal([got, await listener.sunsubscribe('orders'), await r.spublish('orders', 'two')], [[['orders', 'one']], 0, 0]);
});

check('a subscriber comes back after CLIENT KILL', async (r) => {
  const listener = await connect({ retryStrategy: () => 10 });
  const got = [];
  listener.on('message', (_, message) => got.push(message));
  await listener.subscribe('news');
  await listener.psubscribe('p*');
  equal(await r.client('KILL', 'TYPE', 'pubsub'), 1);
  await eventually('a message on a new connection', async () => {
    await r.publish('news', 'again');
    return got.length > 0;
  });
  equal(got[0], 'again');
  await eventually('the pattern too', async () => (await r.pubsub('NUMPAT')) === 1);
});

check('keyspace notifications', async (r) => {
  await r.config('SET', 'notify-keyspace-events', 'KEA');
  const listener = await connect();
  const got = [];
  listener.on('pmessage', (_, channel, message) => got.push([channel, message]));
  await listener.psubscribe('__key*@0__:*');
  await r.set('k', 'v', 'EX', 100);
  await r.del('k');
  await eventually('six messages', () => got.length === 6);
  equal(
    got,
    ['set', 'expire', 'del'].flatMap((event) => [
      ['__keyspace@0__:k', event],
      [`__keyevent@0__:${event}`, 'k'],
    ]),
  );
  await r.config('SET', 'notify-keyspace-events', '');
});

// --- Streams and blocking commands ----------------------------------------------------------------------------------

check('streams', async (r) => {
  const first = await r.xadd('x', '*', 'a', 1, 'b', 'ü');
  equal(await r.xadd('x', '9999999999999-1', 'a', 2), '9999999999999-1');
  equal(await r.xrange('x', '-', '+'), [
    [first, ['a', '1', 'b', 'ü']],
    ['9999999999999-1', ['a', '2']],
  ]);
  equal(
    [await r.xlen('x'), await r.xrevrange('x', '+', '-', 'COUNT', 1), await r.xdel('x', first)],
    [2, [['9999999999999-1', ['a', '2']]], 1],
  );
  await fails(
    ReplyError,
    'The ID specified in XADD is equal or smaller than the target stream top item',
    r.xadd('x', '1-1', 'a', 1),
  );
  equal(await r.xread('STREAMS', 'x', 'none', '0', '0'), [['x', [['9999999999999-1', ['a', '2']]]]]);
  await Promise.all(upTo(300).map((n) => r.xadd('t', 'MAXLEN', '=', 100, `${n + 1}-0`, 'n', n)));
  equal([await r.xlen('t'), await r.xtrim('t', 'MINID', 290), await r.xlen('t')], [100, 89, 11]);
  const info = pairs(await r.xinfo('STREAM', 't'));
  equal([info.length, info['last-generated-id'], info['first-entry']], [11, '300-0', ['290-0', ['n', '289']]]);
});

check('consumer groups', async (r) => {
  equal(await r.xgroup('CREATE', 'x', 'g', '$', 'MKSTREAM'), 'OK');
  await fails(ReplyError, 'BUSYGROUP Consumer Group name already exists', r.xgroup('CREATE', 'x', 'g', '$'));
  const read = (consumer, id, ...options) => r.xreadgroup('GROUP', 'g', consumer, ...options, 'STREAMS', 'x', id);
  for (const n of [1, 2, 3, 4, 5]) await r.xadd('x', `${n}-0`, 'n', n);
  equal(await read('ann', '>', 'COUNT', 2), [
    [
      'x',
      [
        ['1-0', ['n', '1']],
        ['2-0', ['n', '2']],
      ],
    ],
  ]);
  equal(
    [(await read('bob', '>'))[0][1].length, await read('bob', '>'), await r.xack('x', 'g', '1-0', '3-0', '9-9')],
    [3, null, 2],
  );
  equal(await r.xpending('x', 'g'), [
    3,
    '2-0',
    '5-0',
    [
      ['ann', '1'],
      ['bob', '2'],
    ],
  ]);
  equal(
    (await r.xpending('x', 'g', '-', '+', 10, 'bob')).map(([id, consumer, , times]) => [id, consumer, times]),
    [
      ['4-0', 'bob', 1],
      ['5-0', 'bob', 1],
    ],
  );
  equal([await r.xclaim('x', 'g', 'ann', 0, '4-0'), await r.xdel('x', '5-0')], [[['4-0', ['n', '4']]], 1]);
  equal(await r.xautoclaim('x', 'g', 'cid', 0, '0-0', 'COUNT', 10), [
    '0-0',
    [
      ['2-0', ['n', '2']],
      ['4-0', ['n', '4']],
    ],
    ['5-0'],
  ]);
  const [group] = (await r.xinfo('GROUPS', 'x')).map(pairs);
  equal([group.name, group.consumers, group.pending, group['last-delivered-id']], ['g', 3, 2, '5-0']);
  equal(
    [
      await r.xgroup('DELCONSUMER', 'x', 'g', 'cid'),
      await r.xgroup('SETID', 'x', 'g', '0'),
      await r.xgroup('DESTROY', 'x', 'g'),
    ],
    [2, 'OK', 1],
  );
  await fails(ReplyError, "NOGROUP No such key 'x' or consumer group 'g'", read('ann', '>'));
});

check('workers of a consumer group', async (r) => {
  await r.xgroup('CREATE', 'jobs', 'workers', '$', 'MKSTREAM');
  const done = [];
  const worker = async (n) => {
    const client = await connect();
    while (done.length < 500) {
      const reply = await client.xreadgroup(
        'GROUP',
        'workers',
        `w${n}`,
        'COUNT',
        7,
        'BLOCK',
        50,
        'STREAMS',
        'jobs',
        '>',
      );
      for (const [id, [, job]] of reply?.[0][1] ?? []) {
        equal(await client.xack('jobs', 'workers', id), 1);
        done.push(Number(job));
      }
    }
  };
  await Promise.all([...upTo(4).map(worker), ...upTo(500).map((n) => r.xadd('jobs', '*', 'job', n))]);
  equal([done.sort((a, b) => a - b), (await r.xpending('jobs', 'workers'))[0]], [upTo(500), 0]);
});

check('blocking commands that time out', async (r) => {
  const start = performance.now();
  equal(
    [
      await r.blpop('none', 0.05),
      await r.brpop('none', 'n2', 0.05),
      await r.blmove('none', 'd', 'LEFT', 'LEFT', 0.05),
      await r.blmpop(0.05, 1, 'none', 'LEFT'),
    ],
    [null, null, null, null],
  );
  equal(
    [
      await r.bzpopmin('none', 0.05),
      await r.bzmpop(0.05, 1, 'none', 'MAX'),
      await r.xread('BLOCK', 50, 'STREAMS', 'none', '$'),
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
    () => client.blpop('a', 'b', 10),
    () => r.rpush('b', 'v'),
    ['b', 'v'],
  );
  await served(
    () => client.brpop(['a'], 10),
    () => r.rpush('a', 1, 2),
    ['a', '2'],
  );
  await served(
    () => client.blmove('q', 'd', 'LEFT', 'RIGHT', 10),
    () => r.lpush('q', 'x'),
    'x',
  );
  await served(
    () => client.blmpop(10, 2, 'q', 'p', 'LEFT', 'COUNT', 3),
    () => r.rpush('p', 1, 2),
    ['p', ['1', '2']],
  );
  await served(
    () => client.bzpopmin('z', 10),
    () => r.zadd('z', 1.5, 'm'),
    ['z', 'm', '1.5'],
  );
  await served(
    () => client.bzmpop(10, 1, 'z', 'MAX'),
    () => r.zadd('z', 1, 'm'),
    ['z', [['m', '1']]],
  );
  await served(
    () => client.xread('BLOCK', 10_000, 'STREAMS', 'x', '$'),
    () => r.xadd('x', '1-1', 'f', 1),
    [['x', [['1-1', ['f', '1']]]]],
  );
  const waits = client.blpop('none', 0);
  await blocked(r);
  const id = (await r.client('LIST')).match(/id=(\d+) [^\n]*cmd=blpop/)[1];
  equal([await r.client('UNBLOCK', id), await waits], [1, null]);
});

// --- Users and errors -----------------------------------------------------------------------------------------------

check('users with limited rights', async (r) => {
  equal(
    await r.acl(
      'SETUSER',
      'reader',
      'reset',
      'on',
      '>pass',
      '~cache:*',
      'resetchannels',
      '&news',
      '+@read',
      '+@pubsub',
      '+@connection',
      '+info',
      '+incr',
      '-keys',
    ),
    'OK',
  );
  const user = await connect({ username: 'reader', password: 'pass' });
  await r.set('cache:a', 1);
  equal([await user.get('cache:a'), await user.incr('cache:a'), await user.publish('news', 1)], ['1', 2, 0]);
  const texts = noPermission(version, 'reader');
  await fails(ReplyError, texts.command('set'), user.set('cache:a', 2));
  await fails(ReplyError, texts.key, user.get('other'));
  await fails(ReplyError, texts.command('keys'), user.keys('*'));
  await fails(ReplyError, texts.channel, user.publish('other', 1));
  const about = pairs(await r.acl('GETUSER', 'reader'));
  holds(
    about.flags.includes('on') &&
      about.keys === '~cache:*' &&
      about.channels === '&news' &&
      about.commands.includes('+incr'),
    JSON.stringify(about),
  );
  const entry = pairs((await r.acl('LOG'))[0]);
  equal(
    [entry.reason, entry.object, entry.username, await r.acl('LOG', 'RESET'), await r.acl('WHOAMI')],
    ['channel', 'other', 'reader', 'OK', 'default'],
  );
  // A wrong password is told as an event; commands find the connection closed.
  const wrong = new Redis({
    host,
    port,
    protocol,
    username: 'reader',
    password: 'wrong',
    retryStrategy: null,
    lazyConnect: true,
  });
  opened.push(wrong);
  const told = new Promise((resolve) => wrong.on('error', resolve));
  wrong.connect().catch(() => {});
  equal((await told).message, 'WRONGPASS invalid username-password pair or user is disabled.');
  equal([await r.auth('reader', 'pass'), await r.get('cache:a')], ['OK', '2']);
  await (await connect()).acl('DELUSER', 'reader');
});

check('password of the default user', async (r) => {
  await r.config('SET', 'requirepass', 'secret');
  try {
    const without = new Redis({ host, port, protocol, retryStrategy: null, lazyConnect: true });
    opened.push(without);
    const told = new Promise((resolve) => without.on('error', resolve));
    without
      .connect()
      .then(() => without.get('k'))
      .catch(() => {});
    holds((await told).message.startsWith('NOAUTH'), 'NOAUTH');
    equal(await (await connect({ password: 'secret' })).set('k', 1), 'OK');
  } finally {
    await r.config('SET', 'requirepass', '');
  }
});

check('errors', async (r) => {
  await r.set('s', 'text');
  const error = await fails(
    ReplyError,
    'WRONGTYPE Operation against a key holding the wrong kind of value',
    r.lpush('s', 1),
  );
  equal([error.name, error.command], ['ReplyError', { name: 'lpush', args: ['s', '1'] }]);
  await fails(ReplyError, 'ERR value is not an integer or out of range', r.incr('s'));
  await fails(ReplyError, "ERR unknown command 'nosuch', with args beginning with: 'a' ", r.call('nosuch', 'a'));
  await fails(ReplyError, "ERR wrong number of arguments for 'get' command", r.call('get'));
  await r.config('SET', 'maxmemory', 1);
  await fails(ReplyError, "OOM command not allowed when used memory > 'maxmemory'.", r.set('k', 'v'));
  await r.config('SET', 'maxmemory', 0);
  // With reconnectOnError the client looks for a server that can be written to, until there is one.
  const patient = await connect({
    retryStrategy: () => 10,
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
  });
  await r.replicaof(host, 1);
  await fails(ReplyError, "READONLY You can't write against a read only replica.", r.set('k', 'v'));
  const waits = patient.set('k', 'patient');
  await eventually(
    'it has connected again',
    async () => (await r.client('LIST')).split('\n').length > 2 && patient.status !== 'ready',
  );
  await r.replicaof('NO', 'ONE');
  equal([await waits, await r.get('k'), (await r.role())[0]], ['OK', 'patient', 'master']);
});

// --- The server -----------------------------------------------------------------------------------------------------

check('INFO, CONFIG, MEMORY, OBJECT', async (r) => {
  await r.set('k', 'v', 'EX', 1000);
  const info = await r.info();
  equal(
    [field(info, 'tcp_port'), field(info, 'role'), field(info, 'db0').startsWith('keys=1,expires=1')],
    [String(port), 'master', true],
  );
  equal(
    [await r.config('SET', 'hash-max-listpack-entries', 7), pairs(await r.config('GET', 'hash-max-listpack-entries'))],
    ['OK', { 'hash-max-listpack-entries': '7' }],
  );
  equal([await r.config('SET', 'hash-max-listpack-entries', 512), await r.config('RESETSTAT')], ['OK', 'OK']);
  await fails(
    ReplyError,
    "Unknown option or number of arguments for CONFIG SET - 'nosuch'",
    r.config('SET', 'nosuch', 1),
  );
  await r.hset('h', Object.fromEntries(upTo(1000).map((n) => [`f${n}`, 'v'])));
  holds(
    (await r.memory('USAGE', 'h')) > (await r.memory('USAGE', 'k')) && (await r.memory('USAGE', 'none')) === null,
    'MEMORY USAGE',
  );
  equal(pairs(await r.memory('STATS'))['keys.count'], 2);
  equal(
    [
      await r.object('ENCODING', 'h'),
      await r.object('REFCOUNT', 'k'),
      (await r.object('IDLETIME', 'k')) < 60,
      await r.object('ENCODING', 'none'),
    ],
    ['hashtable', 1, true, null],
  );
});

check('commands about the server', async (r) => {
  const [seconds] = await r.time();
  holds(Math.abs(seconds - Date.now() / 1000) < 60, 'the time');
  const [get, none] = await r.command('INFO', 'GET', 'nosuch');
  equal([get[0], get[1], get[2].includes('readonly'), none], ['get', 2, true, null]);
  equal(
    [await r.command('COUNT'), await r.command('GETKEYS', 'MSET', 'a', '1', 'b', '2')],
    [(await r.command()).length, ['a', 'b']],
  );
  equal(
    [await r.slowlog('RESET'), await r.latency('RESET'), await r.wait(0, 10), typeof (await r.lastsave())],
    ['OK', 0, 0, 'number'],
  );
  const heard = [];
  const monitor = await r.monitor();
  opened.push(monitor);
  monitor.on('monitor', (time, args, source, database) => heard.push([args, database]));
  await r.set('seen', 'a "quoted" word');
  await eventually('MONITOR sees it', () => heard.some(([args]) => args[1] === 'seen'));
  equal(heard.find(([args]) => args[1] === 'seen')[1], '0');
});

if (protocol === 3) {
  check('replies as RESP3 has them', async () => {
    const r = await connect({ replyMapping: 'resp3' });
    await r.hset('h', { a: 1 });
    await r.zadd('z', 1.5, 'm', 2, 'n');
    await r.xadd('x', '1-1', 'f', 'v');
    equal(
      [await r.hgetall('h'), await r.config('GET', 'port'), await r.zscore('z', 'm')],
      [{ a: '1' }, { port: String(port) }, 1.5],
    );
    equal(
      [await r.zrange('z', 0, -1, 'WITHSCORES'), await r.zpopmax('z')],
      [
        [
          ['m', 1.5],
          ['n', 2],
        ],
        ['n', 2],
      ],
    );
    equal([await r.xread('STREAMS', 'x', '0'), (await r.hello(3)).proto], [{ x: [['1-1', ['f', 'v']]] }, 3]);
  });
}

await checks.run(40, fresh, closeAll);
