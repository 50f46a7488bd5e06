//! Loading an append only file: its commands are carried out by the handlers that carry out those of
//! clients, for sessions that nobody sees; see [`super::lanes`] for how.
//!
//! Nothing expires meanwhile: that a key has expired is something the log says. A file may begin
//! with a snapshot.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use super::lanes::Feed;
use super::snapshot::{self, Duplicates, Target, Terms};
use crate::command::session::Session;
use crate::command::spec::{MAY_REPLICATE, READONLY, WRITE};
use crate::command::table::Row;
use crate::persist::aof::files::{Files, Part};
use crate::persist::aof::reader::{self, Error, Reader};
use crate::persist::rdb::records::Records;
use crate::server::Server;
use crate::server::aof::reason;
use crate::server::client::{Address, Client};
use crate::server::config::id;
use crate::{log_notice, log_warning};

/// Commands after which progress is told, and whether to give up asked.
const EVERY: u64 = 1024;

/// Loads one file of an append only file, which is cut off where a command is not whole if that
/// may be.
///
/// # Errors
/// What keeps the server from starting; the log has been told more.
pub fn load(server: &Arc<Server>, files: &Files, part: &Part) -> Result<(), String> {
    let name = String::from_utf8_lossy(&part.name).into_owned();
    let fatal = || format!("There was an error reading the AOF file {name}. Exiting.");
    if part.size == 0 {
        return Ok(());
    }
    let mut file = files.open_part(part).map_err(|_| fatal())?;
    let mut head = vec![0; 5];
    let got = fill(&mut file, &mut head).map_err(|error| unreadable(&name, &error))?;
    head.truncate(got);
    let start = Instant::now();
    let (head, offset) = if reader::is_rdb(&head) {
        let old = files.is_old_style(part);
        log_notice!(
            "{}",
            match old {
                true => "Reading RDB preamble from AOF file...",
                false => "Reading RDB base file on AOF loading...",
            }
        );
        let loaded = load_preamble(server, head, file.try_clone(), &name)?;
        if old {
            log_notice!("Reading the remaining AOF tail...");
        }
        loaded
    } else {
        (head, 0)
    };
    let mut reader = Reader::with_read(file, &head, offset);
    match replay(server, &mut reader, &name) {
        Ok(()) => {
            // An annotation without its line end would swallow what is written behind it.
            let whole = reader.whole_up_to();
            if part.last && whole < part.size {
                files.truncate(part, whole).map_err(|_| fatal())?;
            }
        }
        Err(Stopped::Truncated { offset, reason }) => {
            if !server.config.bool(id::AOF_LOAD_TRUNCATED) {
                return Err(reason);
            }
            if !part.last {
                // To cut it would lose what is behind it at the next start.
                log_warning!("!!! Warning: short read while loading the AOF file {name}!!!");
                return Err("Fatal error: the truncated file is not the last file".to_owned());
            }
            files.truncate(part, offset).map_err(|_| fatal())?;
        }
        Err(Stopped::Failed(reason)) => return Err(reason),
    }
    let kind = if part.base { "base" } else { "incr" };
    let seconds = start.elapsed().as_secs_f64();
    log_notice!("DB loaded from {kind} file {name}: {seconds:.3} seconds");
    Ok(())
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read(&mut buffer[got..])? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}

fn unreadable(name: &str, error: &std::io::Error) -> String {
    let reason = reason(error);
    format!("Unrecoverable error reading the append only file {name}: {reason}")
}

/// Loads the snapshot that a file begins with. Returns what has been read of what follows, and
/// where that begins.
fn load_preamble(
    server: &Arc<Server>,
    head: Vec<u8>,
    file: std::io::Result<File>,
    name: &str,
) -> Result<(Vec<u8>, u64), String> {
    let failed = |error: &dyn std::fmt::Display| {
        log_warning!("{error}");
        format!("Error reading the RDB preamble of the AOF file {name}, AOF loading aborted")
    };
    let file = file.map_err(|error| failed(&error))?;
    let checksum = server.config.bool(id::RDBCHECKSUM);
    let records = Records::behind(head, file, checksum).map_err(|error| failed(&error))?;
    let terms = Terms {
        duplicates: Duplicates::Refused,
        drop_expired: false,
        restore: false,
    };
    let loaded = snapshot::load_records(server, &Target::of(server), records, terms);
    let loaded = loaded.map_err(|error| failed(&error))?;
    Ok((loaded.rest, loaded.end))
}

/// Why the commands of a file have not all been carried out.
enum Stopped {
    /// The file ends too early; it is whole up to an offset.
    Truncated { offset: u64, reason: String },
    /// It is no such file, or cannot be read, or holds what cannot be carried out.
    Failed(String),
}

/// Carries out all commands.
fn replay<R: Read>(
    server: &Arc<Server>,
    reader: &mut Reader<R>,
    name: &str,
) -> Result<(), Stopped> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let feed = Feed::new(server, scope, threads);
        let mut feed = feed.map_err(|error| Stopped::Failed(error.to_string()))?;
        let mut seen = reader.offset();
        let result = feed_all(server, reader, name, &mut feed, &mut seen);
        // What is whole counts, however it goes on.
        feed.finish();
        server.loading.advance(reader.offset() - seen);
        result
    })
}

/// Hands all commands over. `seen` is up to where progress has been told.
fn feed_all<R: Read>(
    server: &Server,
    reader: &mut Reader<R>,
    name: &str,
    feed: &mut Feed<'_, '_>,
    seen: &mut u64,
) -> Result<(), Stopped> {
    let mut done = 0u64;
    loop {
        let mut args = match reader.next() {
            Ok(Some(command)) => command.args,
            Ok(None) => return Ok(()),
            Err(error) => {
                let reason = error.message(name.as_bytes());
                let Error::Truncated {
                    offset,
                    transaction,
                } = error
                else {
                    return Err(Stopped::Failed(reason));
                };
                if transaction {
                    log_warning!("Revert incomplete MULTI/EXEC transaction in AOF file {name}");
                }
                return Err(Stopped::Truncated { offset, reason });
            }
        };
        let Ok(row) = feed.find(&args) else {
            let word = shown(&args[0]);
            return Err(Stopped::Failed(format!(
                "Unknown command '{word}' reading the append only file {name}"
            )));
        };
        if !belongs(row) {
            let word = shown(&args[0]);
            log_warning!("'{word}' in the AOF file {name} is passed over");
            continue;
        }
        feed.push(row, &mut args);
        done += 1;
        if done.is_multiple_of(EVERY) {
            let offset = reader.offset();
            server.loading.advance(offset - *seen);
            *seen = offset;
            if server.loading.is_cancelled() {
                return Err(Stopped::Failed("The server is ending".to_owned()));
            }
        }
    }
}

/// A word for a line of the log, which a damaged file shall not break up.
fn shown(word: &[u8]) -> String {
    word[..word.len().min(128)].escape_ascii().to_string()
}

/// Whether a log holds such commands. Others, which ask for the end of the server, a pause, or a
/// rewrite of the very files that are being read, can only be there by mistake or malice.
fn belongs(row: &Row) -> bool {
    let frame = ["select", "multi", "exec", "discard", "ping"];
    row.spec.flags.has(WRITE.or(MAY_REPLICATE).or(READONLY)) || frame.contains(&&*row.name)
}

/// A session that carries out what a log holds.
pub(super) fn feeder(server: &Server) -> std::io::Result<Session> {
    // It needs a socket like any other, though nothing is ever sent through it.
    let (ours, _) = UnixStream::pair()?;
    let address = Address {
        peer: String::new(),
        local: String::new(),
        unix: true,
        loopback: true,
    };
    let socket = Arc::new(File::from(std::os::fd::OwnedFd::from(ours)));
    let client = Arc::new(Client::new(0, socket, address));
    let mut session = Session::new(server, client);
    session.feeder = true;
    Ok(session)
}
