//! `CLIENT TRACKING` and its relatives: client-side caching as a client asks for it, and what
//! happens around the commands of one that has.
//!
//! Who is told what is in [`crate::server::tracking`]. A client's own thread sees to it that the
//! reply to a read goes out before the message that makes it void: while the command still holds
//! its locks, it has the messages to come wait for its replies.
//! <https://redis.io/docs/latest/develop/reference/client-side-caching/>

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::dispatch::each_key;
use super::error::{Error, SYNTAX};
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx, Keyspace, Outcome, Row, Session};
use crate::server::blocking::Waiter;
use crate::server::client::{
    CACHING, Client, TRACKING, TRACKING_BCAST, TRACKING_BROKEN, TRACKING_NOLOOP, TRACKING_OPTIN,
    TRACKING_OPTOUT,
};
use crate::server::mail::{HOUSEKEEPER, Mail};
use crate::server::tracking::{Mode, overlap, remembers};
use crate::store::shard_of;

/// The row of `CLIENT CACHING`.
pub const CACHING_ROW: Command = Command::new("caching", 3, client_caching)
    .flags(NOSCRIPT.or(LOADING).or(STALE))
    .acl(CAT_CONNECTION)
    .docs(
        Group::Connection,
        "6.0.0",
        "O(1)",
        "Says whether the keys of the next command are tracked",
    )
    .args("mode:(YES | NO)");

/// The row of `CLIENT GETREDIR`.
pub const GETREDIR_ROW: Command = Command::new("getredir", 2, client_getredir)
    .flags(NOSCRIPT.or(LOADING).or(STALE))
    .acl(CAT_CONNECTION)
    .docs(
        Group::Connection,
        "6.0.0",
        "O(1)",
        "Tells to which client tracking messages are redirected",
    );

/// The row of `CLIENT TRACKING`.
pub const TRACKING_ROW: Command = Command::new("tracking", -3, client_tracking)
    .flags(NOSCRIPT.or(LOADING).or(STALE))
    .acl(CAT_CONNECTION)
    .docs(
        Group::Connection,
        "6.0.0",
        "O(1), and O(N) with N prefixes",
        "Has this connection told when keys that it has read change, or no longer",
    )
    .args(
        "status:(ON | OFF) [REDIRECT client-id:integer] [PREFIX prefix]... [BCAST] [OPTIN] \
            [OPTOUT] [NOLOOP]",
    );

/// The row of `CLIENT TRACKINGINFO`.
pub const TRACKINGINFO_ROW: Command = Command::new("trackinginfo", 2, client_trackinginfo)
    .flags(NOSCRIPT.or(LOADING).or(STALE))
    .acl(CAT_CONNECTION)
    .docs(
        Group::Connection,
        "6.2.0",
        "O(1)",
        "Describes how this connection uses client-side caching",
    );

const TWO_REDIRECTIONS: Error =
    Error::new("ERR A client can only redirect to a single other client");
const NO_TARGET: Error = Error::new("ERR The client ID you want redirect to does not exist");
const PREFIX_WITHOUT_BCAST: Error =
    Error::new("ERR PREFIX option requires BCAST mode to be enabled");
const BCAST_SWITCHED: Error = Error::new(
    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
     and then re-enabling it with a different mode.",
);
const BCAST_WITH_OPT: Error = Error::new("ERR OPTIN and OPTOUT are not compatible with BCAST");
const OPTIN_WITH_OPTOUT: Error =
    Error::new("ERR You can't specify both OPTIN mode and OPTOUT mode");
const OPT_SWITCHED: Error = Error::new(
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
     and then re-enabling it with a different mode.",
);
const CACHING_WITHOUT: Error = Error::new(
    "ERR CLIENT CACHING can be called only when the client is in tracking mode \
     with OPTIN or OPTOUT mode enabled",
);
const NOT_OPTIN: Error =
    Error::new("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
const NOT_OPTOUT: Error =
    Error::new("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");

/// `CLIENT TRACKING ON | OFF [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST]
/// [OPTIN] [OPTOUT] [NOLOOP]`
fn client_tracking(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mut mode = Mode::default();
    let mut prefixes: Vec<&[u8]> = Vec::new();
    let mut at = 3;
    while at < args.len() {
        let (word, more) = (&args[at], at + 1 < args.len());
        if is(word, "REDIRECT") && more {
            at += 1;
            if mode.redirect != 0 {
                return Err(TWO_REDIRECTIONS);
            }
            let id = u64::try_from(int(args, at)?).ok();
            let target = id.and_then(|id| c.server.clients.get(id));
            mode.redirect = target.ok_or(NO_TARGET)?.id;
        } else if is(word, "BCAST") {
            mode.bcast = true;
        } else if is(word, "OPTIN") {
            mode.optin = true;
        } else if is(word, "OPTOUT") {
            mode.optout = true;
        } else if is(word, "NOLOOP") {
            mode.noloop = true;
        } else if is(word, "PREFIX") && more {
            at += 1;
            prefixes.push(&args[at]);
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    let client = &c.session.client;
    if is(&args[2], "ON") {
        check(c, &mode, &prefixes)?;
        // Messages may come as soon as the client is known, yet must follow the reply.
        hold(client);
        c.server.tracking.enable(client, &mode, &prefixes);
    } else if is(&args[2], "OFF") {
        c.server.tracking.disable(client);
    } else {
        return Err(SYNTAX);
    }
    c.out.ok();
    Ok(())
}

/// Whether a client can track in this way, given how it does so far.
fn check(c: &Ctx<'_>, mode: &Mode, prefixes: &[&[u8]]) -> Outcome {
    let client = &c.session.client;
    if !mode.bcast && !prefixes.is_empty() {
        return Err(PREFIX_WITHOUT_BCAST);
    }
    if client.has(TRACKING) && client.has(TRACKING_BCAST) != mode.bcast {
        return Err(BCAST_SWITCHED);
    }
    if mode.bcast && (mode.optin || mode.optout) {
        return Err(BCAST_WITH_OPT);
    }
    if mode.optin && mode.optout {
        return Err(OPTIN_WITH_OPTOUT);
    }
    if mode.optin && client.has(TRACKING_OPTOUT) || mode.optout && client.has(TRACKING_OPTIN) {
        return Err(OPT_SWITCHED);
    }
    let has = c.server.tracking.prefixes_of(client);
    if let Some((prefix, other, old)) = overlap(prefixes, &has) {
        let kind: &[u8] = if old {
            b"an existing"
        } else {
            b"another provided"
        };
        return Err(Error::raw(
            [
                b"ERR Prefix '",
                prefix,
                b"' overlaps with ",
                kind,
                b" prefix '",
                other,
                b"'. Prefixes for a single client must not overlap.",
            ]
            .concat(),
        ));
    }
    Ok(())
}

/// `CLIENT CACHING YES | NO`
fn client_caching(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let client = &c.session.client;
    if !client.has(TRACKING) {
        return Err(CACHING_WITHOUT);
    }
    if is(&args[2], "YES") {
        if !client.has(TRACKING_OPTIN) {
            return Err(NOT_OPTIN);
        }
    } else if is(&args[2], "NO") {
        if !client.has(TRACKING_OPTOUT) {
            return Err(NOT_OPTOUT);
        }
    } else {
        return Err(SYNTAX);
    }
    client.set(CACHING, true);
    c.out.ok();
    Ok(())
}

/// The client that gets what this one is told: 0 for itself, -1 if it does not track.
pub(super) fn redirection(client: &Client) -> i64 {
    if client.has(TRACKING) {
        client.redirect.load(Relaxed) as i64
    } else {
        -1
    }
}

/// `CLIENT GETREDIR`
fn client_getredir(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.out.int(redirection(&c.session.client));
    Ok(())
}

/// `CLIENT TRACKINGINFO`
fn client_trackinginfo(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let client = &c.session.client;
    let (optin, optout) = (client.has(TRACKING_OPTIN), client.has(TRACKING_OPTOUT));
    let caching = client.has(CACHING);
    let words = [
        (client.has(TRACKING), "on"),
        (!client.has(TRACKING), "off"),
        (client.has(TRACKING_BCAST), "bcast"),
        (optin, "optin"),
        (optin && caching, "caching-yes"),
        (optout, "optout"),
        (optout && caching, "caching-no"),
        (client.has(TRACKING_NOLOOP), "noloop"),
        (client.has(TRACKING_BROKEN), "broken_redirect"),
    ];
    let flags = words.iter().filter(|(set, _)| *set);
    c.out.map(3);
    c.out.bulk(b"flags");
    c.out.set(flags.clone().count());
    flags.for_each(|(_, word)| c.out.bulk(word.as_bytes()));
    c.out.bulk(b"redirect");
    c.out.int(redirection(client));
    c.out.bulk(b"prefixes");
    let prefixes = c.server.tracking.prefixes_of(client);
    c.out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| c.out.bulk(prefix));
    Ok(())
}

/// Has messages wait for the replies of the client, if it is one that can get any. Called by its own
/// thread only.
fn hold(client: &Client) {
    if client.resp.load(Relaxed) == 3 {
        client.outbox.hold();
    }
}

/// A command has been carried out, and its locks are still held: if its client tracks, what it has
/// read is remembered.
#[inline]
pub(super) fn after(db: &mut Keyspace<'_>, session: &Session, row: &Row, args: &Args<'_>) {
    if session.client.has(TRACKING) {
        remember(db, &session.client, row, args);
    }
}

#[cold]
fn remember(db: &mut Keyspace<'_>, client: &Arc<Client>, row: &Row, args: &Args<'_>) {
    // Whatever is changed from the release of the locks on is told behind the reply.
    if client.has(TRACKING_BCAST) {
        hold(client);
    }
    if !remembers(client) || !row.spec.flags.has(READONLY) || row.spec.flags.has(PUBSUB) {
        return;
    }
    hold(client);
    each_key(row, args, |key| {
        let hash = db.server.store.hash(key);
        let expired = db.locks.holds(shard_of(hash)) && db.is_expired(hash, key);
        db.server.tracking.remember(client, hash, key, expired);
    });
}

/// A client that tracks has been served out of a blocking command, under the lock of the key it was
/// served from: as in Redis, which carries the command out once more, all its keys are remembered.
/// The others need no lock, as nothing of them has been read.
#[cold]
pub(super) fn remember_keys(db: &Keyspace<'_>, waiter: &Waiter) {
    for (hash, key) in &waiter.keys {
        let held = db.number == waiter.db && db.locks.holds(shard_of(*hash));
        let expired = held && db.is_expired(*hash, key);
        let tracking = &db.server.tracking;
        tracking.remember(&waiter.client, *hash, key, expired);
    }
}

/// Forgets keys if too many are remembered.
#[inline]
pub(super) fn make_room(db: &mut Keyspace<'_>) {
    let tracking = &db.server.tracking;
    if tracking.is_used() && tracking.is_full(db.server) {
        // Not the client's doing, so that it is told as well if it wants no echo of its own.
        let mut mail = Mail::new(HOUSEKEEPER);
        tracking.make_room(db.server, &mut mail);
        mail.deliver(db.server);
    }
}

/// What `CLIENT CACHING` said ends with the next command or transaction, other `CLIENT` commands
/// left aside.
#[inline]
pub(super) fn end_caching(session: &Session, row: Option<&Row>) {
    if session.client.has(CACHING)
        && session.transaction.is_none()
        && row.is_none_or(|row| row.spec.name != "client" && row.container != Some("client"))
    {
        session.client.set(CACHING, false);
    }
}
