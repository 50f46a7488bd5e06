//! How a replica introduces itself to its primary, and asks for what it does not have yet.
//!
//! The order of what is sent, what may fail and the lines of the log are Redis', which has a few
//! concessions to primaries of long ago.

use super::line::{Broken, Line};
use crate::server::Server;
use crate::server::config::id;
use crate::server::replication::NO_ID;
use crate::{log_notice, log_warning};

/// What a primary says to a `PSYNC`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is still thinking.
    Wait,
    /// Everything is to be copied: the data set is the one at an offset of a history; `None` where
    /// these cannot be made out.
    Full(Option<(String, u64)>),
    /// The stream goes on, perhaps under another name.
    Continue(Option<String>),
    /// It cannot, but later it may.
    Later,
    /// It is not used to that.
    Unknown,
    /// It is, but something is wrong.
    Unexpected,
}

/// What was agreed upon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Agreed {
    /// Everything is copied. Without a history where the primary has no notion of one.
    Full(Option<(String, u64)>),
    /// The stream goes on, perhaps under another name.
    Continue(Option<String>),
}

/// Why nothing was agreed upon. The log has been told.
#[derive(Debug)]
pub enum Refused {
    /// The line is of no more use.
    Broken(Broken),
    /// The primary does not want to, or not yet.
    Declined,
}

impl From<Broken> for Refused {
    fn from(broken: Broken) -> Refused {
        Refused::Broken(broken)
    }
}

/// Reads the answer to a `PSYNC`.
pub fn answer(line: &[u8]) -> Answer {
    if line.is_empty() {
        return Answer::Wait;
    }
    if let Some(rest) = line.strip_prefix(b"+FULLRESYNC") {
        return Answer::Full(full(rest));
    }
    if let Some(rest) = line.strip_prefix(b"+CONTINUE") {
        let id = rest.trim_ascii();
        return Answer::Continue(is_id(id).then(|| String::from_utf8_lossy(id).into_owned()));
    }
    if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
        return Answer::Later;
    }
    if line.starts_with(b"-ERR") {
        Answer::Unknown
    } else {
        Answer::Unexpected
    }
}

/// `<id> <offset>`
fn full(rest: &[u8]) -> Option<(String, u64)> {
    let mut words = rest.split(|&byte| byte == b' ').filter(|w| !w.is_empty());
    let (id, offset) = (words.next()?, words.next()?);
    if !is_id(id) {
        return None;
    }
    let offset = std::str::from_utf8(offset).ok()?.parse().ok()?;
    Some((String::from_utf8_lossy(id).into_owned(), offset))
}

/// Whether this may be the name of a history.
fn is_id(text: &[u8]) -> bool {
    text.len() == NO_ID.len() && text.iter().all(u8::is_ascii_graphic)
}

/// Text of a primary for a line of the log.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(256)])
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// The next line that is not empty: the reply to a command.
fn reply(line: &mut Line, server: &Server) -> Result<Vec<u8>, Refused> {
    loop {
        match line.line(server) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => return Ok(text),
            Err(broken) => {
                if !matches!(broken, Broken::Over | Broken::Silent) {
                    log_warning!(
                        "Failed to read response from the server: {}",
                        broken.reason()
                    );
                    log_warning!("Master did not respond to command during SYNC handshake");
                }
                return Err(broken.into());
            }
        }
    }
}

/// Sends a command of the handshake.
fn send(line: &Line, server: &Server, words: &[&[u8]]) -> Result<(), Refused> {
    line.send(server, words).map_err(|broken| {
        log_warning!(
            "Sending command to master in replication handshake: -Writing to master: {}",
            broken.reason()
        );
        broken.into()
    })
}

/// Says who the replica is.
///
/// # Errors
/// The primary does not want to hear it, or the line breaks.
pub fn introduce(line: &mut Line, server: &Server) -> Result<(), Refused> {
    send(line, server, &[b"PING"])?;
    let text = reply(line, server)?;
    // One that asks for a password is there, too.
    let asks = [&b"-NOAUTH"[..], b"-NOPERM", b"-ERR operation not permitted"];
    if !text.starts_with(b"+") && !asks.iter().any(|ask| text.starts_with(ask)) {
        log_warning!("Error reply to PING from master: '{}'", shown(&text));
        return Err(Refused::Declined);
    }
    log_notice!("Master replied to PING, replication can continue...");

    // All of it is sent at once.
    let (user, password) = super::credentials(server);
    let login = password.is_some();
    if let Some(password) = &password {
        match &user {
            Some(user) => send(line, server, &[b"AUTH", user, password])?,
            None => send(line, server, &[b"AUTH", password])?,
        }
    }
    let announced = server.config.int(id::REPLICA_ANNOUNCE_PORT);
    let port = match announced {
        0 => server.config.int(id::PORT),
        announced => announced,
    };
    let port = port.to_string();
    let words: [&[u8]; 3] = [b"REPLCONF", b"listening-port", port.as_bytes()];
    send(line, server, &words)?;
    let address = server.config.str(id::REPLICA_ANNOUNCE_IP);
    if !address.is_empty() {
        send(line, server, &[b"REPLCONF", b"ip-address", &address])?;
    }
    let words: [&[u8]; 5] = [b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"];
    send(line, server, &words)?;

    if login {
        let text = reply(line, server)?;
        if text.starts_with(b"-") {
            log_warning!("Unable to AUTH to MASTER: {}", shown(&text));
            return Err(Refused::Declined);
        }
    }
    let told = [
        ("listening-port", true),
        ("ip-address", !address.is_empty()),
        ("capa", true),
    ];
    for (what, _) in told.iter().filter(|(_, sent)| *sent) {
        let text = reply(line, server)?;
        if text.starts_with(b"-") {
            let text = shown(&text);
            log_notice!("(Non critical) Master does not understand REPLCONF {what}: {text}");
        }
    }
    Ok(())
}

/// What a replica asks for.
pub struct Request {
    /// The history and the first byte of it that is wanted, counted from one, if the data set is a
    /// point of one.
    pub from: Option<(String, u64)>,
    /// Whether the primary is to hand its role over.
    pub failover: bool,
}

/// Asks for the stream, and for the data set where that does not do.
///
/// # Errors
/// The primary refuses, or the line breaks.
pub fn ask(line: &mut Line, server: &Server, request: &Request) -> Result<Agreed, Refused> {
    let (history, offset) = match &request.from {
        Some((history, offset)) => {
            log_notice!("Trying a partial resynchronization (request {history}:{offset}).");
            (history.as_str(), offset.to_string())
        }
        None => {
            log_notice!("Partial resynchronization not possible (no cached master)");
            ("?", "-1".to_owned())
        }
    };
    let mut words: Vec<&[u8]> = vec![b"PSYNC", history.as_bytes(), offset.as_bytes()];
    if request.failover {
        words.push(b"FAILOVER");
    }
    if let Err(broken) = line.send(server, &words) {
        let reason = broken.reason();
        log_warning!("Unable to send PSYNC to master: -Writing to master: {reason}");
        return Err(broken.into());
    }
    loop {
        let text = match line.line(server) {
            Ok(text) => text,
            Err(broken) => {
                log_warning!("Master did not reply to PSYNC, will try later");
                return Err(broken.into());
            }
        };
        match answer(&text) {
            Answer::Wait => {}
            Answer::Full(history) => {
                match &history {
                    Some((id, offset)) => log_notice!("Full resync from master: {id}:{offset}"),
                    None => log_warning!("Master replied with wrong +FULLRESYNC syntax."),
                }
                return Ok(Agreed::Full(history));
            }
            Answer::Continue(id) => {
                log_notice!("Successful partial resynchronization with master.");
                return Ok(Agreed::Continue(id));
            }
            Answer::Later => {
                log_notice!(
                    "Master is currently unable to PSYNC but should be in the future: {}",
                    shown(&text)
                );
                return Err(Refused::Declined);
            }
            known => {
                let text = shown(&text);
                if known == Answer::Unexpected {
                    log_warning!("Unexpected reply to PSYNC from master: {text}");
                } else {
                    log_notice!(
                        "Master does not support PSYNC or is in error state (reply: {text})"
                    );
                }
                if request.failover {
                    return Err(Refused::Declined);
                }
                log_notice!("Retrying with SYNC...");
                line.send_raw(server, b"SYNC\r\n").inspect_err(|broken| {
                    log_warning!("I/O error writing to MASTER: {}", broken.reason());
                })?;
                return Ok(Agreed::Full(None));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn read(text: &str) -> Answer {
        answer(text.as_bytes())
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(read(""), Answer::Wait);
        let full = format!("+FULLRESYNC {ID} 12345");
        assert_eq!(read(&full), Answer::Full(Some((ID.to_owned(), 12345))));
        for wrong in ["", " ", &format!(" {ID}"), " abc 1", &format!(" {ID} x")] {
            assert_eq!(read(&format!("+FULLRESYNC{wrong}")), Answer::Full(None));
        }
        assert_eq!(read("+CONTINUE"), Answer::Continue(None));
        assert_eq!(read("+CONTINUE abc"), Answer::Continue(None));
        let other = format!("+CONTINUE {ID}");
        assert_eq!(read(&other), Answer::Continue(Some(ID.to_owned())));
        assert_eq!(read("-NOMASTERLINK no"), Answer::Later);
        assert_eq!(read("-LOADING wait"), Answer::Later);
        assert_eq!(read("-ERR unknown command"), Answer::Unknown);
        assert_eq!(read("-NOPERM no"), Answer::Unexpected);
        assert_eq!(read("+OK"), Answer::Unexpected);
    }
}
