//! Publish and subscribe: messages to channels, to the clients that listen there.
//!
//! Who listens where is kept in [`crate::server::pubsub`]; how a message reaches a client is in
//! [`crate::server::mail`].
//! <https://redis.io/docs/latest/develop/interact/pubsub/>

use super::help::{help, wrong_subcommand};
use super::spec::*;
use super::{Args, Ctx, Outcome, permissions};
use crate::server::pubsub::Kind;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("psubscribe", -2, psubscribe)
        .flags(PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "2.0.0",
            "O(N), N the number of patterns this client listens to",
            "Listens to the channels that match patterns",
        )
        .args("pattern:{pattern}..."),
    Command::new("publish", 3, publish)
        .flags(PUBSUB.or(LOADING).or(STALE).or(FAST).or(MAY_REPLICATE))
        .docs(
            Group::Pubsub,
            "2.0.0",
            "O(N+M), N the number of clients that get it, M the number of patterns",
            "Sends a message to a channel",
        )
        .args("channel message"),
    Command::new("pubsub", -2, super::container)
        .docs(
            Group::Pubsub,
            "2.8.0",
            "Depends on the subcommand",
            "Groups the commands that tell who listens where",
        )
        .subcommands(PUBSUB_SUBCOMMANDS),
    Command::new("punsubscribe", -1, punsubscribe)
        .flags(PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "2.0.0",
            "O(N), N the number of patterns given up",
            "Gives up listening to patterns, or to all",
        )
        .args("[pattern...]"),
    Command::new("spublish", 3, spublish)
        .flags(PUBSUB.or(LOADING).or(STALE).or(FAST).or(MAY_REPLICATE))
        .keys(&[KeySpec::one(1, NOT_KEY)])
        .locking(Locking::None)
        .docs(
            Group::Pubsub,
            "7.0.0",
            "O(N), N the number of clients that get it",
            "Sends a message to a shard channel",
        )
        .args("shardchannel message"),
    Command::new("ssubscribe", -2, ssubscribe)
        .flags(PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE))
        .keys(&[KeySpec::range(1, -1, 1, NOT_KEY)])
        .locking(Locking::None)
        .docs(
            Group::Pubsub,
            "7.0.0",
            "O(N), N the number of shard channels given",
            "Listens to shard channels",
        )
        .args("shardchannel..."),
    Command::new("subscribe", -2, subscribe)
        .flags(PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "2.0.0",
            "O(N), N the number of channels given",
            "Listens to channels",
        )
        .args("channel..."),
    Command::new("sunsubscribe", -1, sunsubscribe)
        .flags(PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE))
        .keys(&[KeySpec::range(1, -1, 1, NOT_KEY)])
        .locking(Locking::None)
        .docs(
            Group::Pubsub,
            "7.0.0",
            "O(N), N the number of shard channels given up",
            "Gives up listening to shard channels, or to all",
        )
        .args("[shardchannel...]"),
    Command::new("unsubscribe", -1, unsubscribe)
        .flags(PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "2.0.0",
            "O(N), N the number of channels given up",
            "Gives up listening to channels, or to all",
        )
        .args("[channel...]"),
];

const PUBSUB_SUBCOMMANDS: &[Command] = &[
    Command::new("channels", -2, pubsub_channels)
        .flags(PUBSUB.or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "2.8.0",
            "O(N), N the number of channels, and the length of the pattern",
            "Lists the channels somebody listens to",
        )
        .args("[pattern]"),
    Command::new("help", 2, pubsub_help)
        .flags(LOADING.or(STALE))
        .docs(
            Group::Pubsub,
            "6.2.0",
            "O(1)",
            "Lists the PUBSUB subcommands",
        ),
    Command::new("numpat", 2, pubsub_numpat)
        .flags(PUBSUB.or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "2.8.0",
            "O(1)",
            "Counts the patterns somebody listens to",
        ),
    Command::new("numsub", -2, pubsub_numsub)
        .flags(PUBSUB.or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "2.8.0",
            "O(N), N the number of channels given",
            "Counts the clients that listen to channels",
        )
        .args("[channel...]"),
    Command::new("shardchannels", -2, pubsub_shardchannels)
        .flags(PUBSUB.or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "7.0.0",
            "O(N), N the number of shard channels",
            "Lists the shard channels somebody listens to",
        )
        .args("[pattern]"),
    Command::new("shardnumsub", -2, pubsub_shardnumsub)
        .flags(PUBSUB.or(LOADING).or(STALE))
        .docs(
            Group::Pubsub,
            "7.0.0",
            "O(N), N the number of shard channels given",
            "Counts the clients that listen to shard channels",
        )
        .args("[shardchannel...]"),
];

/// The number that confirmations of a kind show: shard channels are counted on their own.
fn count(c: &Ctx<'_>, kind: Kind) -> usize {
    let subscriptions = &c.session.client.subscriptions;
    match kind {
        Kind::Shard => subscriptions.count(Kind::Shard),
        _ => subscriptions.count(Kind::Channel) + subscriptions.count(Kind::Pattern),
    }
}

/// Confirms a subscription or its end.
fn confirm(c: &mut Ctx<'_>, word: &str, kind: Kind, name: Option<&[u8]>) {
    let count = count(c, kind);
    c.out.push(3);
    c.out.bulk(word.as_bytes());
    c.out.bulk_or_null(name);
    c.out.count(count);
}

fn start(c: &mut Ctx<'_>, args: &Args<'_>, word: &str, kind: Kind) -> Outcome {
    // Messages may come as soon as the client is known, yet must follow the confirmation.
    c.session.client.outbox.hold();
    for name in args.from(1) {
        c.server.pubsub.subscribe(&c.session.client, kind, name);
        confirm(c, word, kind, Some(name));
    }
    if !permissions::may_still_listen(c.server, c.session) {
        c.session.client.kill();
    }
    Ok(())
}

fn stop(c: &mut Ctx<'_>, args: &Args<'_>, word: &str, kind: Kind) -> Outcome {
    let all = (args.len() == 1).then(|| c.server.pubsub.names_of(&c.session.client, kind));
    let named = args.from(1);
    let names: Vec<&[u8]> = match &all {
        Some(all) => all.iter().map(|name| &name[..]).collect(),
        None => named.collect(),
    };
    if names.is_empty() {
        confirm(c, word, kind, None);
    }
    for name in names {
        c.server.pubsub.unsubscribe(&c.session.client, kind, name);
        // What has come before the end is sent before it is confirmed; but not in the middle of the
        // reply to EXEC.
        if !c.db.in_transaction {
            let held = c.session.client.outbox.take_held();
            c.out.raw(&held);
        }
        confirm(c, word, kind, Some(name));
    }
    Ok(())
}

/// `SUBSCRIBE channel [channel ...]`
fn subscribe(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    start(c, args, "subscribe", Kind::Channel)
}

/// `PSUBSCRIBE pattern [pattern ...]`
fn psubscribe(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    start(c, args, "psubscribe", Kind::Pattern)
}

/// `SSUBSCRIBE shardchannel [shardchannel ...]`
fn ssubscribe(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    start(c, args, "ssubscribe", Kind::Shard)
}

/// `UNSUBSCRIBE [channel ...]`
fn unsubscribe(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    stop(c, args, "unsubscribe", Kind::Channel)
}

/// `PUNSUBSCRIBE [pattern ...]`
fn punsubscribe(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    stop(c, args, "punsubscribe", Kind::Pattern)
}

/// `SUNSUBSCRIBE [shardchannel ...]`
fn sunsubscribe(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    stop(c, args, "sunsubscribe", Kind::Shard)
}

fn send(c: &mut Ctx<'_>, args: &Args<'_>, kind: Kind) -> Outcome {
    c.server.pubsub.note_departures(c.server);
    let sent = c
        .server
        .pubsub
        .publish(c.server, &mut c.db.mail, kind, &args[1], &args[2]);
    c.out.count(sent);
    if c.db.logs() {
        c.db.to_replicas(&[&args[0], &args[1], &args[2]]);
    }
    Ok(())
}

/// `PUBLISH channel message`
fn publish(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    send(c, args, Kind::Channel)
}

/// `SPUBLISH shardchannel message`
fn spublish(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    send(c, args, Kind::Shard)
}

fn list(c: &mut Ctx<'_>, args: &Args<'_>, kind: Kind) -> Outcome {
    if args.len() > 3 {
        return Err(wrong_subcommand(args));
    }
    c.server.pubsub.note_departures(c.server);
    let names = c.server.pubsub.list(kind, args.get(2));
    c.out.array(names.len());
    names.iter().for_each(|name| c.out.bulk(name));
    Ok(())
}

fn numbers(c: &mut Ctx<'_>, args: &Args<'_>, kind: Kind) -> Outcome {
    c.server.pubsub.note_departures(c.server);
    c.out.array(2 * (args.len() - 2));
    for name in args.from(2) {
        c.out.bulk(name);
        c.out.count(c.server.pubsub.subscribers(kind, name));
    }
    Ok(())
}

/// `PUBSUB CHANNELS [pattern]`
fn pubsub_channels(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    list(c, args, Kind::Channel)
}

/// `PUBSUB SHARDCHANNELS [pattern]`
fn pubsub_shardchannels(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    list(c, args, Kind::Shard)
}

/// `PUBSUB NUMSUB [channel ...]`
fn pubsub_numsub(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    numbers(c, args, Kind::Channel)
}

/// `PUBSUB SHARDNUMSUB [shardchannel ...]`
fn pubsub_shardnumsub(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    numbers(c, args, Kind::Shard)
}

/// `PUBSUB NUMPAT`
fn pubsub_numpat(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.server.pubsub.note_departures(c.server);
    c.out.count(c.server.pubsub.count(Kind::Pattern));
    Ok(())
}

/// `PUBSUB HELP`
fn pubsub_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    List the channels somebody listens to: all, or those that match.",
    "NUMPAT",
    "    Count the patterns somebody listens to.",
    "NUMSUB [<channel> ...]",
    "    Count the clients that listen to each of these channels, those with",
    "    patterns left out.",
    "SHARDCHANNELS [<pattern>]",
    "    List the shard channels somebody listens to: all, or those that match.",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Count the clients that listen to each of these shard channels.",
];
