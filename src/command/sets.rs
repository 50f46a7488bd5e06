//! The set commands: members in and out, questions about them, random ones. Intersections, unions
//! and differences are in `set_algebra.rs`.
//!
//! The compact encodings and the table behind large sets are [`Set`]'s business; here the limits
//! of the configuration are handed to it wherever a set may grow.

use super::error::{Outcome, SYNTAX};
use super::keyspace::Class;
use super::options::{int_within, positive};
use super::replies::{Endless, item as bulk};
use super::scan::{self, ScanOptions, Scanned};
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::server::Server;
use crate::server::config::id;
use crate::types::Value;
use crate::types::set::{Limits, Set};
use crate::util::random::with_thread_rng;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("sadd", -3, sadd)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::Set,
            "1.0.0",
            "O(1) a member",
            "Adds members to a set, which is made when the key is new",
        )
        .args("key member...")
        .history(&[("2.4.0", "Several members at once")]),
    Command::new("scard", 2, scard)
        .flags(READONLY.or(FAST))
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::Set,
            "1.0.0",
            "O(1)",
            "Tells how many members a set has",
        )
        .args("key"),
    Command::new("sismember", 3, sismember)
        .flags(READONLY.or(FAST))
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::Set,
            "1.0.0",
            "O(1)",
            "Tells whether a set has a member",
        )
        .args("key member"),
    Command::new("smembers", 2, smembers)
        .flags(READONLY)
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Set,
            "1.0.0",
            "O(N), N the number of members",
            "Lists every member of a set",
        )
        .args("key")
        .tips(&["nondeterministic_output_order"]),
    Command::new("smismember", -3, smismember)
        .flags(READONLY.or(FAST))
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Set,
            "6.2.0",
            "O(N), N the number of members asked about",
            "Tells for each of several members whether a set has it",
        )
        .args("key member..."),
    Command::new("smove", 4, smove)
        .flags(WRITE.or(FAST))
        .acl(CAT_SET)
        .keys(&[
            KeySpec::one(1, RW.or(ACCESS).or(DELETE)),
            KeySpec::one(2, RW.or(INSERT)),
        ])
        .docs(
            Group::Set,
            "1.0.0",
            "O(1)",
            "Takes a member out of one set and puts it into another",
        )
        .args("source:key destination:key#1 member"),
    Command::new("spop", -2, spop)
        .flags(WRITE.or(FAST))
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::Set,
            "1.0.0",
            "O(1) a member",
            "Takes random members out of a set and returns them",
        )
        .args("key [count:integer@3.2.0]")
        .history(&[("3.2.0", "Argument `count`")])
        .tips(&["nondeterministic_output"]),
    Command::new("srandmember", -2, srandmember)
        .flags(READONLY)
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Set,
            "1.0.0",
            "O(1) a member",
            "Returns random members of a set; with a negative count they may repeat",
        )
        .args("key [count:integer@2.6.0]")
        .history(&[("2.6.0", "Argument `count`")])
        .tips(&["nondeterministic_output"]),
    Command::new("srem", -3, srem)
        .flags(WRITE.or(FAST))
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::Set,
            "1.0.0",
            "O(N), N the number of members to go",
            "Takes members out of a set",
        )
        .args("key member...")
        .history(&[("2.4.0", "Several members at once")]),
    Command::new("sscan", -3, sscan)
        .flags(READONLY)
        .acl(CAT_SET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Set,
            "2.8.0",
            "O(1) a call, O(N) for all N members",
            "Walks through the members of a set bit by bit",
        )
        .args("key cursor:integer [MATCH pattern] [COUNT count:integer]")
        .tips(&["nondeterministic_output"]),
];

/// Up to where sets are kept in a compact form.
pub(super) fn limits(server: &Server) -> Limits {
    Limits {
        ints: server.config.int(id::SET_MAX_INTSET_ENTRIES) as usize,
        entries: server.config.int(id::SET_MAX_LISTPACK_ENTRIES) as usize,
        value: server.config.memory(id::SET_MAX_LISTPACK_VALUE) as usize,
    }
}

/// Announces that `count` members, at least one, came or went; each counts as a change.
fn changed(c: &mut Ctx<'_>, event: &'static str, key: &[u8], count: usize) {
    c.db.changed_by(Class::Set, event, key, count);
}

/// Deletes the key of a set of which nothing is left.
fn drop_empty(c: &mut Ctx<'_>, key: &[u8], lazy: bool) {
    c.db.delete(key, lazy);
    c.db.announce(Class::Generic, "del", key);
}

// ---------------------------------------------------------------- in and out

fn sadd(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let limits = limits(c.server);
    let (key, more) = (&args[1], args.len() - 2);
    let add_to = |set: &mut Set| {
        args.from(2)
            .filter(|member| set.add(member, limits))
            .count()
    };
    let added = match c.db.members_mut(key)? {
        Some(set) => {
            set.reserve(more, limits);
            add_to(set)
        }
        None => {
            let mut set = Set::sized(&args[2], more, limits);
            let added = add_to(&mut set);
            c.db.add(key, Value::Set(set));
            added
        }
    };
    if added > 0 {
        changed(c, "sadd", key, added);
    }
    c.out.count(added);
    Ok(())
}

fn srem(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    let (mut removed, mut empty) = (0, false);
    if let Some(set) = c.db.members_mut(key)? {
        for member in args.from(2) {
            if set.remove(member) {
                removed += 1;
                empty = set.is_empty();
                if empty {
                    break;
                }
            }
        }
    }
    if removed > 0 {
        changed(c, "srem", key, removed);
        if empty {
            drop_empty(c, key, false);
        }
    }
    c.out.count(removed);
    Ok(())
}

/// `SMOVE source destination member`
fn smove(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (source, destination, member) = (&args[1], &args[2], &args[3]);
    let there = c.db.members_mut(destination).map(|set| set.is_some());
    let Some(set) = c.db.members_mut(source)? else {
        // Without a source it does not matter what the destination is.
        c.out.int(0);
        return Ok(());
    };
    let there = there?;
    if source == destination {
        let contains = set.contains(member);
        c.out.int(i64::from(contains));
        return Ok(());
    }
    if !set.remove(member) {
        c.out.int(0);
        return Ok(());
    }
    let empty = set.is_empty();
    changed(c, "srem", source, 1);
    if empty {
        drop_empty(c, source, false);
    }
    let limits = limits(c.server);
    let added = if there {
        c.db.members_mut(destination)?
            .is_some_and(|set| set.add(member, limits))
    } else {
        let mut set = Set::sized(member, 1, limits);
        set.add(member, limits);
        c.db.add(destination, Value::Set(set));
        true
    };
    if added {
        changed(c, "sadd", destination, 1);
    }
    c.out.int(1);
    Ok(())
}

// ---------------------------------------------------------------- questions

fn scard(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let len = c.db.members(&args[1])?.map_or(0, Set::len);
    c.out.count(len);
    Ok(())
}

fn sismember(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let set = c.db.members(&args[1])?;
    let contains = set.is_some_and(|set| set.contains(&args[2]));
    c.out.int(i64::from(contains));
    Ok(())
}

fn smismember(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let set = c.db.members(&args[1])?;
    c.out.array(args.len() - 2);
    for member in args.from(2) {
        let contains = set.is_some_and(|set| set.contains(member));
        c.out.int(i64::from(contains));
    }
    Ok(())
}

fn smembers(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    match c.db.members(&args[1])? {
        Some(set) if c.pace.too_slow(set.len()) => {}
        Some(set) => {
            c.out.set(set.len());
            set.iter().for_each(|member| bulk(c.out, member));
        }
        None => c.out.set(0),
    }
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
fn sscan(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let cursor = scan::cursor(args, 2)?;
    let (mut next, mut found, mut batch) = (0, 0, Reply::new());
    // Options for a set that is not there are not even read.
    if let Some(set) = c.db.members(&args[1])? {
        let options = ScanOptions::read(args, 3, Scanned::Members)?;
        next = set.scan(cursor, options.count, |member| {
            if options.pattern.fits(member.bytes(&mut [0; 20])) {
                bulk(&mut batch, member);
                found += 1;
            }
        });
    }
    scan::reply(c.out, next, found, &batch);
    Ok(())
}

// ---------------------------------------------------------------- random members

fn spop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    match args.len() {
        2 => pop_one(c, &args[1]),
        3 => pop_many(c, args),
        _ => Err(SYNTAX),
    }
}

fn pop_one(c: &mut Ctx<'_>, key: &[u8]) -> Outcome {
    let Some(set) = c.db.members_mut(key)? else {
        c.out.null();
        return Ok(());
    };
    let logs = c.server.log.is_on();
    let mut gone = Vec::new();
    with_thread_rng(|rng| {
        set.pop_with(rng, |member| {
            bulk(c.out, member);
            if logs {
                gone.push(member.to_vec());
            }
        })
    });
    let empty = set.is_empty();
    changed(c, "spop", key, 1);
    if empty {
        drop_empty(c, key, false);
    }
    log_removed(c, key, &gone);
    Ok(())
}

/// Logs which members were drawn, so many at a time.
fn log_removed(c: &mut Ctx<'_>, key: &[u8], gone: &[Vec<u8>]) {
    const AT_ONCE: usize = 1024;
    if !c.db.logs() {
        return;
    }
    c.db.nothing_instead();
    for some in gone.chunks(AT_ONCE) {
        let mut words: Vec<&[u8]> = vec![b"SREM", key];
        words.extend(some.iter().map(Vec::as_slice));
        c.db.also(&words);
    }
}

/// `SPOP key count`
fn pop_many(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = &args[1];
    let count = positive(args, 2)? as usize;
    let limits = limits(c.server);
    let Some(set) = c.db.members_mut(key)?.filter(|_| count > 0) else {
        c.out.set(0);
        return Ok(());
    };
    let len = set.len();
    if count < len {
        c.out.set(count);
        let logs = c.server.log.is_on();
        let mut gone = Vec::new();
        with_thread_rng(|rng| {
            set.pop_many(count, rng, limits, |member| {
                bulk(c.out, member);
                if logs {
                    gone.push(member.to_vec());
                }
            })
        });
        changed(c, "spop", key, count);
        log_removed(c, key, &gone);
        return Ok(());
    }
    c.out.set(len);
    set.iter().for_each(|member| bulk(c.out, member));
    changed(c, "spop", key, len);
    let lazy = c.server.config.bool(id::LAZYFREE_LAZY_SERVER_DEL);
    drop_empty(c, key, lazy);
    c.db.deletion_instead(key, lazy);
    Ok(())
}

fn srandmember(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(SYNTAX);
    }
    if args.len() == 3 {
        return random_many(c, args);
    }
    match c.db.members(&args[1])? {
        Some(set) => with_thread_rng(|rng| {
            if let Some(member) = set.random(rng) {
                bulk(c.out, member);
            }
        }),
        None => c.out.null(),
    }
    Ok(())
}

/// `SRANDMEMBER key count`
fn random_many(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let count = int_within(args, 2, -i64::MAX, i64::MAX)?;
    let Some(set) = c.db.members(&args[1])?.filter(|_| count != 0) else {
        c.out.array(0);
        return Ok(());
    };
    let wanted = count.unsigned_abs() as usize;
    if count > 0 {
        let len = set.len();
        c.out.array(wanted.min(len));
        if wanted < len {
            with_thread_rng(|rng| set.sample(wanted, rng, |member| bulk(c.out, member)));
        } else {
            set.iter().for_each(|member| bulk(c.out, member));
        }
        return Ok(());
    }
    if c.pace.too_slow(wanted) {
        return Ok(());
    }
    c.out.array(wanted);
    let mut endless = Endless::new(c.server, &c.session.client, c.out, wanted as u64);
    with_thread_rng(|rng| {
        set.draw(wanted as u64, rng, |member| {
            bulk(c.out, member);
            endless.goes_on(c.out)
        })
    });
    Ok(())
}
