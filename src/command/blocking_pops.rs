//! The commands that take elements from lists and sorted sets, and wait where there are none.
//!
//! What they take and reply is that of their kin that do not wait (`list_moves.rs`,
//! `zset_pops.rs`); how waiting works is in `blocking.rs`.

use std::time::Duration;

use super::blocking::{fetch, timeout};
use super::error::Outcome;
use super::list_moves::{self, Mpop};
use super::spec::*;
use super::zset_pops::{End as ZEnd, Mpop as ZMpop};
use super::{Args, Ctx};
use crate::server::blocking::Wanted;
use crate::types::quicklist::End;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("blmove", 6, blmove)
        .flags(WRITE.or(DENYOOM).or(NOSCRIPT).or(BLOCKING))
        .acl(CAT_LIST)
        .keys(&[
            KeySpec::one(1, RW.or(ACCESS).or(DELETE)),
            KeySpec::one(2, RW.or(INSERT)),
        ])
        .docs(
            Group::List,
            "6.2.0",
            "O(1)",
            "Moves an element between the ends of two lists, waiting for one if need be",
        )
        .args(
            "source:key destination:key#1 wherefrom:(LEFT | RIGHT) whereto:(LEFT | \
                RIGHT) timeout:double",
        ),
    Command::new("blmpop", -5, blmpop)
        .flags(WRITE.or(BLOCKING).or(MOVABLEKEYS))
        .acl(CAT_LIST)
        .keys(&[KeySpec::counted(2, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::List,
            "7.0.0",
            "O(N+M), N the number of keys, M the number of elements taken",
            "Takes elements from the first list that has any, waiting for one if need be",
        )
        .args(
            "timeout:double numkeys:integer key... where:(LEFT | RIGHT) [COUNT \
                count:integer]",
        ),
    Command::new("blpop", -3, blpop)
        .flags(WRITE.or(NOSCRIPT).or(BLOCKING))
        .acl(CAT_LIST)
        .keys(&[KeySpec::range(1, -2, 1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::List,
            "2.0.0",
            "O(N), N the number of keys",
            "Takes the first element of the first list that has one, waiting if need be",
        )
        .args("key... timeout:double")
        .history(&[FRACTIONS]),
    Command::new("brpop", -3, brpop)
        .flags(WRITE.or(NOSCRIPT).or(BLOCKING))
        .acl(CAT_LIST)
        .keys(&[KeySpec::range(1, -2, 1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::List,
            "2.0.0",
            "O(N), N the number of keys",
            "Takes the last element of the first list that has one, waiting if need be",
        )
        .args("key... timeout:double")
        .history(&[FRACTIONS]),
    Command::new("brpoplpush", 4, brpoplpush)
        .flags(WRITE.or(DENYOOM).or(NOSCRIPT).or(BLOCKING))
        .acl(CAT_LIST)
        .keys(&[
            KeySpec::one(1, RW.or(ACCESS).or(DELETE)),
            KeySpec::one(2, RW.or(INSERT)),
        ])
        .docs(
            Group::List,
            "2.2.0",
            "O(1)",
            "Moves the last element of a list to the front of another, waiting for one \
                if need be",
        )
        .args("source:key destination:key#1 timeout:double")
        .history(&[FRACTIONS])
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    Command::new("bzmpop", -5, bzmpop)
        .flags(WRITE.or(BLOCKING).or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::counted(2, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::SortedSet,
            "7.0.0",
            "O(K) + O(M*log(N)), K the number of keys, N that of the members, M that \
                of the members taken",
            "Takes members from the first sorted set that has any, waiting for one if \
                need be",
        )
        .args("timeout:double numkeys:integer key... where:(MIN | MAX) [COUNT count:integer]"),
    Command::new("bzpopmax", -3, bzpopmax)
        .flags(WRITE.or(NOSCRIPT).or(BLOCKING).or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::range(1, -2, 1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::SortedSet,
            "5.0.0",
            "O(log(N)), N the number of members",
            "Takes the member with the highest score of the first sorted set that has \
                one, waiting if need be",
        )
        .args("key... timeout:double")
        .history(&[FRACTIONS]),
    Command::new("bzpopmin", -3, bzpopmin)
        .flags(WRITE.or(NOSCRIPT).or(BLOCKING).or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::range(1, -2, 1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::SortedSet,
            "5.0.0",
            "O(log(N)), N the number of members",
            "Takes the member with the lowest score of the first sorted set that has \
                one, waiting if need be",
        )
        .args("key... timeout:double")
        .history(&[FRACTIONS]),
];

const FRACTIONS: (&str, &str) = ("6.0.0", "The timeout may have a fraction");

/// Takes what is wanted from the first of the keys that has it, or waits for one that does.
fn first_of<'k>(
    c: &mut Ctx<'_>,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
    wanted: Wanted,
    timeout: Option<Duration>,
) -> Outcome {
    for key in keys.clone() {
        if !wanted.kind().is_some_and(|kind| c.db.is_awaited(key, kind))
            && fetch(&mut c.db, c.out, key, &wanted)?
        {
            return Ok(());
        }
    }
    c.db.block(keys, wanted, timeout);
    Ok(())
}

/// `BLPOP key [key ...] timeout`
fn blpop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    pop(c, args, Wanted::Element(End::Head))
}

/// `BRPOP key [key ...] timeout`
fn brpop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    pop(c, args, Wanted::Element(End::Tail))
}

/// `BZPOPMIN key [key ...] timeout`
fn bzpopmin(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    pop(c, args, Wanted::Member { highest: false })
}

/// `BZPOPMAX key [key ...] timeout`
fn bzpopmax(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    pop(c, args, Wanted::Member { highest: true })
}

/// The commands of the form `name key [key ...] timeout`.
fn pop(c: &mut Ctx<'_>, args: &Args<'_>, wanted: Wanted) -> Outcome {
    let last = args.len() - 1;
    let timeout = timeout(args, last, c.db.now)?;
    first_of(c, (1..last).map(|at| &args[at]), wanted, timeout)
}

/// `BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]`
fn blmpop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mpop = Mpop::read(args, 2)?;
    let timeout = timeout(args, 1, c.db.now)?;
    let keys = mpop.keys.map(|at| &args[at]);
    first_of(c, keys, Wanted::Elements(mpop.end, mpop.count), timeout)
}

/// `BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]`
fn bzmpop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let many = ZMpop::read(args, 2)?;
    let timeout = timeout(args, 1, c.db.now)?;
    let keys = many.keys.map(|at| &args[at]);
    let wanted = Wanted::Members {
        highest: many.end == ZEnd::Max,
        count: many.count,
    };
    first_of(c, keys, wanted, timeout)
}

/// `BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout`
fn blmove(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (from, to) = (list_moves::end(&args[3])?, list_moves::end(&args[4])?);
    shift(c, args, from, to, 5)
}

/// `BRPOPLPUSH source destination timeout`
fn brpoplpush(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    shift(c, args, End::Tail, End::Head, 3)
}

fn shift(c: &mut Ctx<'_>, args: &Args<'_>, from: End, to: End, seconds: usize) -> Outcome {
    let timeout = timeout(args, seconds, c.db.now)?;
    let wanted = Wanted::Move {
        from,
        destination: args[2].to_vec(),
        to,
        old_name: c.row.name == "brpoplpush",
    };
    first_of(c, std::iter::once(&args[1]), wanted, timeout)
}
