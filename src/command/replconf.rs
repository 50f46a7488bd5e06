//! `REPLCONF`: what replicas say about themselves, and what they acknowledge.

use super::error::{Error, Outcome, SYNTAX};
use super::options::{int, int_within, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::replication::replicas::{Introduction, Wants};
use crate::util::num::parse_i64;
use crate::util::quoting;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("replconf", -1, replconf)
    .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(ALLOW_BUSY))
    .docs(
        Group::Server,
        "3.0.0",
        "O(1)",
        "Tells about a replica, or what it has",
    )
    .syscmd()
    .locking(Locking::None)];

/// The longest address that a replica can give itself.
const LONGEST_IP: usize = 255;

/// `REPLCONF [option value ...]`
fn replconf(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    for at in (1..args.len()).step_by(2) {
        let (option, value) = (&args[at], &args[at + 1]);
        if is(option, "ack") {
            acknowledge(c, args, at);
            return Ok(());
        }
        if is(option, "getack") {
            // A replica is asked by its primary, and by nobody else; the link to that sees to it.
            return Ok(());
        }
        let said = c.session.introduction.get_or_insert_default();
        if is(option, "listening-port") {
            said.port = int(args, at + 1)?;
        } else if is(option, "ip-address") {
            if value.len() > LONGEST_IP {
                return Err(Error::text(format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )));
            }
            said.ip = String::from_utf8_lossy(value).into_owned();
        } else if is(option, "capa") {
            // Others are of no use here.
            said.eof |= is(value, "eof");
            said.psync2 |= is(value, "psync2");
        } else if is(option, "rdb-only") {
            said.rdb_only = int_within(args, at + 1, 0, 1)? == 1;
        } else if is(option, "rdb-filter-only") {
            filter(said, value)?;
        } else if !is(option, "version") {
            return Err(quote("ERR Unrecognized REPLCONF option: ", option));
        }
    }
    c.out.ok();
    Ok(())
}

/// What a replica has. There is no reply, and what makes no sense is passed over.
fn acknowledge(c: &mut Ctx<'_>, args: &Args<'_>, at: usize) {
    let Some(replica) = &c.session.replica else {
        return;
    };
    let offset = |at: usize| parse_i64(args.get(at)?).map(|offset| offset.max(0) as u64);
    let Some(acked) = offset(at + 1) else {
        return;
    };
    let fsynced = match args.get(at + 2) {
        Some(word) if args.len() > at + 3 && is(word, "fack") => match offset(at + 3) {
            Some(fsynced) => Some(fsynced),
            None => return,
        },
        _ => None,
    };
    replica.acknowledge(acked, fsynced);
    c.server.replication.replicas.waits.serve(c.server);
}

/// Only some parts of the data set are wanted.
fn filter(said: &mut Introduction, value: &[u8]) -> Outcome {
    let Some(words) = quoting::split_args(value) else {
        return Err(Error::new("ERR Missing rdb-filter-only values"));
    };
    said.wants = Wants {
        keys: false,
        functions: false,
    };
    for word in &words {
        if !is(word, "functions") {
            return Err(quote("ERR Unsupported rdb-filter-only option: ", word));
        }
        said.wants.functions = true;
    }
    Ok(())
}

fn quote(text: &str, what: &[u8]) -> Error {
    Error::raw([text.as_bytes(), what].concat())
}
