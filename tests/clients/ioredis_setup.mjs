// What the checks of ioredis share: where the server is, and clients of it.

import { createRequire } from 'node:module';
import { Redis } from 'ioredis';
import { Checks, Skip, eventually, upTo } from './check.mjs';

export const [host, port, socketPath, protocol] = [
  process.argv[2],
  Number(process.argv[3]),
  process.argv[4],
  Number(process.argv[5]),
];
export const library = createRequire(import.meta.url)('ioredis/package.json').version;
export const checks = new Checks(`ioredis ${library} RESP${protocol}`);
export const check = (name, body) => checks.add(name, body);

export const opened = [];

/** A client that is connected; errors of its connection do not end the process, which checks look at themselves. */
export async function connect(options = {}) {
  const client = new Redis({ host, port, protocol, lazyConnect: true, ...options });
  client.on('error', () => {});
  opened.push(client);
  await client.connect();
  return client;
}

export async function fresh() {
  const r = await connect();
  await r.flushall();
  return r;
}

export async function closeAll() {
  for (const client of opened.splice(0)) client.disconnect();
}

export const field = (info, name) => info.match(new RegExp(`^${name}:(.*?)\r?$`, 'm'))?.[1];
export const infoOf = async (r, section, name) => field(await r.info(section), name);
export const version = await infoOf(await connect(), 'server', 'redis_version');
await closeAll();

export async function needs(r, command) {
  if ((await r.call('COMMAND', 'INFO', command))[0] === null) throw new Skip(`no ${command}`);
}

/** Waits until this many clients are blocked. */
export const blocked = (r, count = 1) =>
  eventually(`${count} blocked clients`, async () => (await infoOf(r, 'clients', 'blocked_clients')) === String(count));

/** All that a stream of arrays gives. */
export async function collect(stream) {
  const all = [];
  for await (const some of stream) all.push(...some);
  return all;
}

/** a, 1, b, 2 … as an object */
export const pairs = (flat) => Object.fromEntries(upTo(flat.length / 2).map((n) => [flat[2 * n], flat[2 * n + 1]]));
