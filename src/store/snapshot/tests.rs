//! Snapshots against a copy taken at the same instant, and under threads that write.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;

use super::*;
use crate::store::shard_of;
use crate::types::{Value, string};
use crate::util::clock::now_ms;

const DATABASES: usize = 3;

/// What a key holds: its deadline and an integer.
type Content = (Option<i64>, i64);
type Copy = BTreeMap<(usize, Vec<u8>), Content>;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

fn content(entry: &Entry) -> Content {
    let value = string::integer(&entry.value).expect("all values are integers");
    (entry.key.deadline(), value)
}

fn encode(out: &mut Vec<u8>, _: usize, entry: &Entry) {
    let (deadline, value) = content(entry);
    let key = entry.key.bytes();
    out.push(key.len() as u8);
    out.extend_from_slice(key);
    out.extend_from_slice(&deadline.unwrap_or(i64::MIN).to_le_bytes());
    out.extend_from_slice(&value.to_le_bytes());
}

/// Enters the entries of a chunk, each of which must be a new one.
fn decode(db: usize, mut chunk: &[u8], into: &mut Copy) {
    while let Some((&len, rest)) = chunk.split_first() {
        let (key, rest) = rest.split_at(usize::from(len));
        let (numbers, rest) = rest.split_at(16);
        let number = |at: usize| {
            let bytes = numbers[at..at + 8].try_into().expect("eight bytes");
            i64::from_le_bytes(bytes)
        };
        let deadline = Some(number(0)).filter(|&deadline| deadline != i64::MIN);
        let before = into.insert((db, key.to_vec()), (deadline, number(8)));
        assert!(before.is_none(), "an entry has come twice");
        chunk = rest;
    }
}

fn copy(store: &Store) -> Copy {
    let mut copy = Copy::new();
    store.each_shard(|_, shard| {
        for db in 0..store.databases() {
            for entry in shard.db(db).iter() {
                copy.insert((db, entry.key.bytes().to_vec()), content(entry));
            }
        }
    });
    copy
}

fn begin(store: &Store, tuning: Tuning) -> Snapshot {
    let turn = Turn::take(&store.snapshot).expect("there is no other snapshot");
    let mut locks = Locks::all(store, true);
    let mut snapshot = Snapshot::mark(&mut locks, turn, Arc::new(encode), tuning);
    snapshot.parts.sort_unstable();
    snapshot
}

fn set(store: &Store, db: usize, key: &[u8], value: i64) {
    let hash = store.hash(key);
    let mut locks = Locks::one(store, shard_of(hash), true);
    set_in(&mut locks, store, db, key, value);
}

fn set_in(locks: &mut Locks, store: &Store, db: usize, key: &[u8], value: i64) {
    let hash = store.hash(key);
    let part = locks.shard_mut(shard_of(hash)).db_mut(db);
    match part.find(hash, key) {
        Some(position) => part.at_mut(position).value = Value::Int(value),
        None => {
            part.insert(hash, key, Value::Int(value), 0);
        }
    }
}

fn marked(store: &Store) -> usize {
    let mut marked = 0;
    store.each_shard(|_, shard| {
        marked += shard.dbs.iter().filter(|db| db.pending.is_some()).count();
    });
    marked
}

/// Keys of the first three shards only, so that there are many in each.
fn crowd(store: &Store, count: usize) -> Vec<Vec<u8>> {
    (0..)
        .map(|number| format!("{number}").into_bytes())
        .filter(|key| shard_of(store.hash(key)) < 3)
        .take(count)
        .collect()
}

/// Something that happens to a store.
fn happen(store: &Store, keys: &[Vec<u8>], random: &mut Random) {
    let key = &keys[random.below(keys.len())];
    let (db, other) = (random.below(DATABASES), random.below(DATABASES));
    let hash = store.hash(key);
    let now = now_ms();
    match random.below(400) {
        0 => {
            let mut locks = Locks::all(store, true);
            for shard in 0..SHARDS {
                locks.shard_mut(shard).swap(db, other);
            }
        }
        1 => {
            let mut locks = Locks::all(store, true);
            let before: usize = (0..SHARDS).map(|n| locks.shard(n).db(db).len()).sum();
            let gone: usize = (0..SHARDS).map(|n| locks.shard_mut(n).take(db).0).sum();
            assert_eq!(before, gone);
        }
        2..20 => {
            store.sweep(random.below(3), now, 1, &|| false, &mut |_, _, _| {});
        }
        20..30 => {
            // A part that becomes small, whose index is built anew.
            let mut locks = Locks::one(store, shard_of(hash), true);
            let part = locks.shard_mut(shard_of(hash)).db_mut(db);
            for _ in 0..part.len() - part.len() / 3 {
                let key = part.at(random.below(part.len())).key.bytes().to_vec();
                assert!(part.remove(store.hash(&key), &key).is_some());
            }
        }
        30..200 => set(store, db, key, random.below(1 << 40) as i64),
        200..260 => {
            let mut locks = Locks::one(store, shard_of(hash), true);
            let part = locks.shard_mut(shard_of(hash)).db_mut(db);
            if let Some(position) = part.find(hash, key) {
                let deadline = match random.below(3) {
                    0 => None,
                    1 => Some(now - random.below(100) as i64),
                    _ => Some(now + 1_000_000),
                };
                if let Some(due) = part.set_deadline(hash, position, deadline, now) {
                    store.note_due(shard_of(hash), due);
                }
            }
        }
        260..300 => {
            // As `MOVE` and `RENAME` do it.
            let mut locks = Locks::one(store, shard_of(hash), true);
            let shard = locks.shard_mut(shard_of(hash));
            if let Some(entry) = shard.db_mut(db).remove(hash, key) {
                shard.db_mut(other).remove(hash, key);
                let part = shard.db_mut(other);
                let at = part.insert(hash, key, entry.value, 0);
                part.set_deadline(hash, at, entry.key.deadline(), now);
            }
        }
        _ => {
            let mut locks = Locks::one(store, shard_of(hash), true);
            locks.shard_mut(shard_of(hash)).db_mut(db).remove(hash, key);
        }
    }
}

fn random_tuning(random: &mut Random) -> Tuning {
    Tuning {
        slice: 1 + random.below(8),
        slice_bytes: 1 + random.below(100),
        chunk: 1 + random.below(60),
        side: 1 + random.below(200),
        small_side: 1 + random.below(40),
        held: random.below(500),
        group: 1 + random.below(5),
    }
}

#[test]
fn is_what_there_was_whatever_happens_meanwhile() {
    let mut random = Random(0x5eed_0001);
    let mut copied = 0;
    for _ in 0..60 {
        let store = Store::new(DATABASES);
        let keys = crowd(&store, 1 + random.below(250));
        for round in 0..50 {
            for _ in 0..random.below(300) {
                happen(&store, &keys, &mut random);
            }
            let expected = copy(&store);
            let snapshot = begin(&store, random_tuning(&mut random));
            let handle = snapshot.handle();
            assert_eq!(handle.keys(), expected.len());
            let rate = random.below(12);
            let mut found = Copy::new();
            let result = snapshot.run(&store, Pace::Full(1), &mut |db, chunk| {
                decode(db, chunk, &mut found);
                for _ in 0..random.below(rate + 1) {
                    happen(&store, &keys, &mut random);
                }
                Ok(())
            });
            assert!(result.is_ok());
            assert_eq!(found, expected, "round {round}");
            assert_eq!(handle.done(), expected.len());
            assert_eq!(handle.held(), 0);
            assert_eq!(marked(&store), 0);
            assert!(!store.has_snapshot());
            copied += handle.copied();
        }
    }
    assert!(copied > 100_000, "writers have hardly come first: {copied}");
}

#[test]
fn sizes_are_those_of_the_instant() {
    let store = Store::new(DATABASES);
    for number in 0..1000i64 {
        set(
            &store,
            (number % 2) as usize * 2,
            format!("{number}").as_bytes(),
            number,
        );
    }
    let hash = store.hash(b"7");
    let mut locks = Locks::one(&store, shard_of(hash), true);
    let part = locks.shard_mut(shard_of(hash)).db_mut(2);
    let position = part.find(hash, b"7").expect("it was set");
    part.set_deadline(hash, position, Some(i64::MAX), 0);
    drop(locks);
    let (snapshot, noted) = store
        .begin_snapshot(Arc::new(encode), || 42)
        .expect("there is no other");
    assert_eq!(noted, 42);
    let size = |keys, volatile| Size {
        keys,
        volatile,
        fields: false,
    };
    let sizes = [size(500, 0), size(0, 0), size(500, 1)];
    assert_eq!(snapshot.handle().sizes(), sizes);
    assert_eq!(snapshot.handle().keys(), 1000);
}

#[test]
fn there_is_one_at_a_time() {
    let store = Store::new(1);
    set(&store, 0, b"key", 1);
    let mut locks = Locks::all(&store, true);
    let first = store.begin_snapshot_under(&mut locks, Arc::new(encode));
    drop(locks);
    assert!(first.is_some() && store.has_snapshot());
    let second = store.begin_snapshot(Arc::new(encode), || panic!("there is one already"));
    assert!(second.is_none());
    drop(first);
    assert!(!store.has_snapshot());
    // Marks of the one given up are in nobody's way.
    assert_eq!(marked(&store), 1);
    set(&store, 0, b"key", 2);
    assert_eq!(marked(&store), 0);
    let snapshot = begin(&store, TUNING);
    let mut found = Copy::new();
    let result = snapshot.run(&store, Pace::Full(1), &mut |db, chunk| {
        decode(db, chunk, &mut found);
        Ok(())
    });
    assert!(result.is_ok());
    assert_eq!(found, copy(&store));
}

#[test]
fn ends_when_it_is_cancelled_or_the_sink_fails() {
    let mut random = Random(0x5eed_0002);
    let store = Store::new(DATABASES);
    let keys = crowd(&store, 300);
    for round in 0..200 {
        for _ in 0..200 {
            happen(&store, &keys, &mut random);
        }
        for (db, key) in keys[..30].iter().enumerate() {
            set(&store, db % DATABASES, key, 0);
        }
        let snapshot = begin(&store, random_tuning(&mut random));
        let handle = snapshot.handle();
        let threads = 1 + round % 3;
        let (last, fails) = (random.below(4), random.below(2) == 0);
        let mut calls = 0;
        let result = snapshot.run(&store, Pace::Full(threads), &mut |_, _| {
            calls += 1;
            for _ in 0..4 {
                happen(&store, &keys, &mut random);
            }
            if calls > last && fails {
                return Err(io::Error::other("full"));
            }
            if calls > last {
                handle.cancel();
            }
            Ok(())
        });
        match result {
            Err(Stopped::Failed(_)) => assert!(fails),
            Err(Stopped::Cancelled) => assert!(!fails),
            // So few chunks that the end has come first.
            Ok(()) => assert!(calls <= last + 1),
        }
        assert_eq!(marked(&store), 0);
        assert!(!store.has_snapshot());
        assert!(handle.0.handed().detached.is_empty());
        assert!(handle.0.handed().copies.is_empty());
    }
}

#[test]
fn a_flush_leaves_what_is_marked_to_the_snapshot() {
    let store = Store::new(DATABASES);
    for number in 0..5000 {
        set(&store, 1, format!("{number}").as_bytes(), number);
    }
    let expected = copy(&store);
    let flush = || {
        let mut locks = Locks::all(&store, true);
        let taken: Vec<_> = (0..SHARDS).map(|n| locks.shard_mut(n).take(1)).collect();
        assert_eq!(taken.iter().map(|(keys, _)| keys).sum::<usize>(), 5000);
        taken
            .iter()
            .filter_map(|(_, db)| db.as_ref())
            .map(Db::len)
            .sum::<usize>()
    };
    for threads in [1, 3] {
        let snapshot = begin(&store, TUNING);
        assert_eq!(flush(), 0);
        for number in 0..100 {
            set(&store, 1, format!("{number}").as_bytes(), -1);
        }
        let mut found = Copy::new();
        let result = snapshot.run(&store, Pace::Full(threads), &mut |db, chunk| {
            decode(db, chunk, &mut found);
            Ok(())
        });
        assert!(result.is_ok());
        assert_eq!(found, expected);
        assert_eq!(store.len(1), 100);
        for number in 0..5000 {
            set(&store, 1, format!("{number}").as_bytes(), number);
        }
    }
    // A snapshot that has been given up keeps nothing.
    let snapshot = begin(&store, TUNING);
    snapshot.handle().cancel();
    assert_eq!(flush(), 5000);
    drop(snapshot);
}

#[test]
fn a_hash_is_kept_as_it_was_before_its_fields_expire() {
    let store = Store::new(1);
    let now = now_ms();
    let hash = store.hash(b"hash");
    let fields = |store: &Store| {
        let locks = Locks::one(store, shard_of(hash), false);
        let entry = locks.shard(shard_of(hash)).db(0).get(hash, b"hash");
        entry.map(|entry| match &entry.value {
            Value::Hash(fields) => fields.len(),
            _ => unreachable!("it is a hash"),
        })
    };
    {
        let mut locks = Locks::one(&store, shard_of(hash), true);
        let part = locks.shard_mut(shard_of(hash)).db_mut(0);
        let mut value = crate::types::hash::Hash::new();
        let limits = crate::types::member_dict::Limits {
            entries: 128,
            value: 64,
        };
        for number in 0..10 {
            let name = format!("{number}").into_bytes();
            value.set(&name, b"value", limits);
            if number < 4 {
                value.set_deadline(&name, now - 10);
            }
        }
        part.insert(hash, b"hash", Value::Hash(value), 0);
        let due = part.expect_fields(hash, now - 10, now - 100);
        store.note_due(shard_of(hash), due.expect("there is a deadline"));
    }
    let counted = |out: &mut Vec<u8>, _: usize, entry: &Entry| {
        if let Value::Hash(fields) = &entry.value {
            out.push(fields.len() as u8);
        }
    };
    let begun = store.begin_snapshot(Arc::new(counted), || ());
    let (snapshot, ()) = begun.expect("there is no other");
    store.sweep(shard_of(hash), now + 1000, 1, &|| false, &mut |_, _, _| {});
    assert_eq!(fields(&store), Some(6));
    let mut found = Vec::new();
    let result = snapshot.run(&store, Pace::Full(1), &mut |_, chunk| {
        found.extend_from_slice(chunk);
        Ok(())
    });
    assert!(result.is_ok());
    assert_eq!(found, [10]);
}

/// Ends the threads of a test, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The paces in turn.
fn run(snapshot: Snapshot, store: &Store, round: usize) -> Copy {
    let mut found = Copy::new();
    let pace = match round % 3 {
        0 => Pace::Full(1),
        1 => Pace::Full(2),
        _ => Pace::Gentle(&|| 50),
    };
    let result = snapshot.run(store, pace, &mut |db, chunk| {
        decode(db, chunk, &mut found);
        Ok(())
    });
    assert!(result.is_ok());
    found
}

#[test]
fn no_money_is_made_or_lost_between_shards() {
    const ACCOUNTS: usize = 2000;
    let store = Store::new(1);
    let name = |number: usize| format!("account:{number}").into_bytes();
    for number in 0..ACCOUNTS {
        set(&store, 0, &name(number), 1000);
    }
    let stop = AtomicBool::new(false);
    let moved = AtomicI64::new(0);
    let transfer = |random: &mut Random| {
        let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
        if from == to {
            return;
        }
        let keys = [name(from), name(to)];
        let hashes = keys.each_ref().map(|key| store.hash(key));
        let mut shards = hashes.map(shard_of).to_vec();
        let mut locks = Locks::several(&store, &mut shards, true);
        let amount = random.below(100) as i64;
        for (at, change) in [(0, -amount), (1, amount)] {
            let part = locks.shard_mut(shard_of(hashes[at])).db_mut(0);
            let position = part.find(hashes[at], &keys[at]).expect("it is there");
            // At times an account is closed and opened anew, which moves others.
            if random.below(8) == 0 {
                let entry = part.remove(hashes[at], &keys[at]).expect("it is there");
                let value = string::integer(&entry.value).expect("an integer");
                part.insert(hashes[at], &keys[at], Value::Int(value + change), 0);
            } else {
                let entry = part.at_mut(position);
                let value = string::integer(&entry.value).expect("an integer");
                entry.value = Value::Int(value + change);
            }
        }
        moved.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for seed in 1..=3 {
            let (stop, transfer) = (&stop, &transfer);
            scope.spawn(move || {
                let mut random = Random(seed * 7919);
                while !stop.load(Ordering::Relaxed) {
                    transfer(&mut random);
                }
            });
        }
        let _stop = Stop(&stop);
        let mut copied = 0;
        for round in 0..300 {
            let tuning = Tuning {
                slice: 1 + round % 5,
                side: 1 + round % 300,
                ..TUNING
            };
            let snapshot = begin(&store, tuning);
            let handle = snapshot.handle();
            let found = run(snapshot, &store, round);
            copied += handle.copied();
            assert_eq!(found.len(), ACCOUNTS);
            let sum: i64 = found.values().map(|(_, value)| value).sum();
            assert_eq!(sum, 1000 * ACCOUNTS as i64, "round {round}");
        }
        assert!(copied > 0 && moved.load(Ordering::Relaxed) > 0);
    });
}

#[test]
fn a_database_is_all_of_one_generation() {
    const KEYS: usize = 600;
    let store = Store::new(DATABASES);
    let name = |number: usize| format!("key:{number}").into_bytes();
    let stop = AtomicBool::new(false);
    let write = |random: &mut Random, generation: i64| {
        let db = random.below(DATABASES);
        let mut locks = Locks::all(&store, true);
        match random.below(3) {
            0 => {
                for shard in 0..SHARDS {
                    locks.shard_mut(shard).swap(db, 0);
                }
                return Vec::new();
            }
            1 => {}
            _ => {
                for number in 0..KEYS {
                    set_in(&mut locks, &store, db, &name(number), generation);
                }
                return Vec::new();
            }
        }
        // Freed by the caller, without the locks.
        (0..SHARDS)
            .filter_map(|shard| locks.shard_mut(shard).take(db).1)
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        for seed in 1..=2 {
            let (stop, write) = (&stop, &write);
            scope.spawn(move || {
                let mut random = Random(seed * 104_729);
                let mut generation = 0;
                while !stop.load(Ordering::Relaxed) {
                    generation += 2;
                    drop(write(&mut random, generation + seed as i64));
                }
            });
        }
        let _stop = Stop(&stop);
        for round in 0..200 {
            let tuning = Tuning {
                slice: 1 + round % 5,
                side: 1 + round % 300,
                ..TUNING
            };
            let snapshot = begin(&store, tuning);
            let sizes = snapshot.handle().sizes().to_vec();
            let found = run(snapshot, &store, round);
            for (db, size) in sizes.iter().enumerate() {
                let of: Vec<i64> = found
                    .iter()
                    .filter(|((of, _), _)| *of == db)
                    .map(|(_, (_, value))| *value)
                    .collect();
                assert_eq!(of.len(), size.keys);
                assert!(of.is_empty() || of.len() == KEYS);
                assert!(of.iter().all(|value| *value == of[0]), "round {round}");
            }
        }
    });
}

/// Not a test: prints what snapshots of many keys take. Run it in a release build.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let store = Store::new(16);
    let keys = 1_000_000usize;
    let mut random = Random(99);
    for number in 0..keys {
        let name = format!("key:{number:012}");
        let hash = store.hash(name.as_bytes());
        let value: Vec<u8> = (0..64).map(|_| b'a' + random.below(26) as u8).collect();
        let mut locks = Locks::one(&store, shard_of(hash), true);
        let part = locks.shard_mut(shard_of(hash)).db_mut(0);
        part.insert(hash, name.as_bytes(), Value::plain(&value), 0);
    }
    let simple = |out: &mut Vec<u8>, _: usize, entry: &Entry| {
        let key = entry.key.bytes();
        out.extend_from_slice(&[0, key.len() as u8]);
        out.extend_from_slice(key);
        if let Value::Str(bytes) = &entry.value {
            out.push(bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
    };
    for pace in [1, 2, 0, 1, 2, 0] {
        let start = Instant::now();
        let begun = store.begin_snapshot(Arc::new(simple), || ());
        let (snapshot, ()) = begun.expect("there is no other");
        let marked = start.elapsed();
        let mut bytes = 0;
        let gentle = Pace::Gentle(&|| 30);
        let pace_of = if pace == 0 { gentle } else { Pace::Full(pace) };
        let result = snapshot.run(&store, pace_of, &mut |_, chunk| {
            bytes += chunk.len();
            Ok(())
        });
        assert!(result.is_ok());
        let all = start.elapsed();
        println!("threads {pace}: marked {marked:?}, all {all:?}, {bytes} bytes");
    }
    let mut random = Random(5);
    let mut overwrite = |count: usize, most: &mut Duration| {
        let start = Instant::now();
        for _ in 0..count {
            let name = format!("key:{:012}", random.below(keys));
            let before = Instant::now();
            let hash = store.hash(name.as_bytes());
            let mut locks = Locks::one(&store, shard_of(hash), true);
            let part = locks.shard_mut(shard_of(hash)).db_mut(0);
            let position = part.find(hash, name.as_bytes()).expect("it is there");
            part.at_mut(position).value = Value::plain(&[b'x'; 64]);
            drop(locks);
            *most = before.elapsed().max(*most);
        }
        start.elapsed() / count as u32
    };
    let mut most = Duration::ZERO;
    let each = overwrite(500_000, &mut most);
    println!("a write without a snapshot: {each:?}, longest {most:?}");
    for share in [100, 50, 30] {
        let begun = store.begin_snapshot(Arc::new(simple), || ());
        let (snapshot, ()) = begun.expect("there is no other");
        let handle = snapshot.handle();
        std::thread::scope(|scope| {
            let store = &store;
            let start = Instant::now();
            let reader = scope.spawn(move || {
                let pace = Pace::Gentle(&|| share);
                assert!(snapshot.run(store, pace, &mut |_, _| Ok(())).is_ok());
                start.elapsed()
            });
            let (mut most, mut held) = (Duration::ZERO, 0);
            let mut each = Duration::ZERO;
            while !reader.is_finished() {
                each = overwrite(2000, &mut most);
                held = held.max(handle.held());
            }
            let all = reader.join().expect("it does not panic");
            println!(
                "share {share}: a write {each:?}, longest {most:?}; all {all:?}, copies {} bytes, held at most {held}",
                handle.copied()
            );
        });
    }
}
