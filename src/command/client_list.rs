//! The line that describes a client, for `CLIENT LIST` and `CLIENT INFO`.
//!
//! Fields and their order are those of <https://redis.io/docs/latest/commands/client-list/>.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;

use super::{Args, table};
use crate::server::client::Client;
use crate::server::pubsub::Kind;
use crate::util::clock::now_ms;

/// Appends the line of a client, with its line end. `now` is in unix milliseconds; `asks` the command
/// that asks, when the client is the one that sent it.
pub fn line(text: &mut Vec<u8>, client: &Client, now: i64, asks: Option<&Args<'_>>) {
    // Writing to a vector does not fail.
    let _ = write_line(text, client, now, asks);
}

/// The line of a client for the log, without its end.
pub fn describe(client: &Client) -> String {
    let mut text = Vec::new();
    line(&mut text, client, now_ms(), None);
    String::from_utf8_lossy(text.trim_ascii_end()).into_owned()
}

fn write_line(
    text: &mut Vec<u8>,
    client: &Client,
    now: i64,
    asks: Option<&Args<'_>>,
) -> io::Result<()> {
    // Its arguments count while it is carried out, and a pointer to each.
    let argv = asks.map(Args::bytes);
    let asking = asks.map_or(0, |args| args.bytes() + args.len() * size_of::<usize>());
    let (names, outbox) = (client.names(), &client.outbox);
    let (peer, local) = (&client.address.peer, &client.address.local);
    write!(
        text,
        "id={} addr={peer} laddr={local} fd={} name=",
        client.id,
        client.socket.as_raw_fd()
    )?;
    text.extend_from_slice(&names.name);
    write!(
        text,
        " age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={}",
        (now - client.created).max(0) / 1000,
        client.idle_ms(now) / 1000,
        client.letters(),
        client.db.load(Relaxed),
        client.subscriptions.count(Kind::Channel),
        client.subscriptions.count(Kind::Pattern),
        client.subscriptions.count(Kind::Shard),
        client.multi.load(Relaxed)
    )?;
    // Replies leave at the end of a batch or go to the outbox, so there is never a number of bytes
    // to show as those that wait in the reply buffer itself.
    write!(
        text,
        " qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl=0 oll={} omem={} tot-mem={}",
        client.query_used.load(Relaxed),
        client.query_free(),
        argv.unwrap_or_else(|| client.argv.load(Relaxed)),
        client.multi_memory.load(Relaxed),
        client.reply_room.load(Relaxed),
        client.reply_peak.load(Relaxed),
        outbox.chunks(),
        client.output_memory(),
        client.claim() + asking
    )?;
    let command = match client.last_command.load(Relaxed) {
        0 => "NULL",
        number => table()
            .rows
            .get(number as usize - 1)
            .map_or("NULL", |row| &row.name),
    };
    let events = if outbox.is_busy() { "rw" } else { "r" };
    let resp = client.resp.load(Relaxed);
    write!(text, " events={events} cmd={command} user=")?;
    text.extend_from_slice(&client.user_name());
    write!(
        text,
        " redir={} resp={resp} lib-name=",
        super::tracking::redirection(client)
    )?;
    text.extend_from_slice(&names.lib_name);
    text.extend_from_slice(b" lib-ver=");
    text.extend_from_slice(&names.lib_version);
    text.push(b'\n');
    Ok(())
}
