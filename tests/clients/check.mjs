// The little that the checks of Node.js stand on: they are registered, run one after the other, and told as lines.
//
// A line is `ok`, `skip` or `FAIL`, the label, and the check's name; `run` beside this file counts them.

import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';

/** The server under test does not have what the check is about. */
export class Skip extends Error {}

export class Checks {
  constructor(label) {
    this.label = label;
    this.all = [];
  }

  /** Registers a check. */
  add(name, check) {
    this.all.push({ name, check });
  }

  /** Runs each check between `before`, whose result it gets, and `after`; ends the process, with 1 if one failed. */
  async run(seconds, before, after) {
    let failed = false;
    for (const { name, check } of this.all) {
      try {
        await within(seconds, (async () => check(await before()))());
        console.log(`ok   ${this.label}: ${name}`);
      } catch (error) {
        if (error instanceof Skip) {
          console.log(`skip ${this.label}: ${name} (${error.message})`);
        } else {
          failed = true;
          console.log(`FAIL ${this.label}: ${name}\n${error.stack}`);
        }
      }
      await after();
    }
    process.exit(failed ? 1 : 0);
  }
}

async function within(seconds, work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Deep and strict, but an object without a prototype, as the clients return them, equals a plain one. */
export function equal(got, expected) {
  assert.deepEqual(plain(got), plain(expected));
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === 'object' && [null, Object.prototype].includes(Object.getPrototypeOf(value))) {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
  }
  return value;
}

export function holds(condition, what) {
  if (!condition) throw new Error(`does not hold: ${what}`);
}

/** The promise fails with this class of error, and its message holds the text. Returns the error. */
export async function fails(kind, text, promise) {
  let result;
  try {
    result = await promise;
  } catch (error) {
    if (!(error instanceof kind) || !error.message.includes(text)) {
      throw new Error(`got ${error.constructor.name}: ${error.message}, expected ${kind.name}: ${text}`);
    }
    return error;
  }
  throw new Error(`got ${JSON.stringify(result)}, expected ${kind.name}: ${text}`);
}

/** Waits until the condition holds; returns what it gave. */
export async function eventually(what, condition, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await delay(5);
  }
}

/** 0 … count - 1 */
export const upTo = (count) => Array.from({ length: count }, (_, n) => n);

/** The parts of a version, such as [7, 2, 4], compare as numbers. */
export function atLeast(version, major, minor) {
  const parts = version.split('.').map(Number);
  return parts[0] > major || (parts[0] === major && parts[1] >= minor);
}

/** What a user hears who may not do something, as a server of this version words it. */
export function noPermission(version, user) {
  if (atLeast(version, 7, 2)) {
    return {
      command: (name) => `NOPERM User ${user} has no permissions to run the '${name}' command`,
      key: 'NOPERM No permissions to access a key',
      channel: 'NOPERM No permissions to access a channel',
    };
  }
  return {
    command: (name) => `NOPERM this user has no permissions to run the '${name}' command`,
    key: 'NOPERM this user has no permissions to access one of the keys used as arguments',
    channel: 'NOPERM this user has no permissions to access one of the channels used as arguments',
  };
}
