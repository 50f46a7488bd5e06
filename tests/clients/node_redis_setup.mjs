// What the checks of node-redis share: where the server is, and clients of it.

import { createRequire } from 'node:module';
import { RESP_TYPES, createClient } from 'redis';
import { Checks, Skip, eventually } from './check.mjs';

export const [host, port, socketPath, protocol] = [
  process.argv[2],
  Number(process.argv[3]),
  process.argv[4],
  Number(process.argv[5]),
];
export const library = createRequire(import.meta.url)('redis/package.json').version;
export const checks = new Checks(`node-redis ${library} RESP${protocol}`);
export const check = (name, body) => checks.add(name, body);

export const opened = [];

/** A client that is connected; errors of its connection do not end the process, which checks look at themselves. */
export async function connect({ socket, ...options } = {}) {
  const client = createClient({ RESP: protocol, socket: { host, port, ...socket }, ...options });
  client.on('error', () => {});
  opened.push(client);
  return client.connect();
}

export async function fresh() {
  const r = await connect();
  await r.flushAll();
  return r;
}

export async function closeAll() {
  for (const client of opened.splice(0)) if (client.isOpen) client.destroy();
}

export const field = (info, name) => info.match(new RegExp(`^${name}:(.*?)\r?$`, 'm'))?.[1];
export const infoOf = async (r, section, name) => field(await r.info(section), name);
export const version = await infoOf(await connect(), 'server', 'redis_version');
await closeAll();

export async function needs(r, command) {
  if ((await r.commandInfo([command]))[0] === null) throw new Skip(`no ${command}`);
}

/** Waits until this many clients are blocked. */
export const blocked = (r, count = 1) =>
  eventually(`${count} blocked clients`, async () => (await infoOf(r, 'clients', 'blocked_clients')) === String(count));

/** All that an iterator gives, whose steps are arrays. */
export async function collect(iterator) {
  const all = [];
  for await (const some of iterator) all.push(...some);
  return all;
}

export const bytes = (client) => client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
