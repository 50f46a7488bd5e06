//! The log once more, to syslog: a datagram a line to the local daemon.
//!
//! The format is that of RFC 3164 as C libraries write it to `/dev/log`: `<priority>Mmm dd
//! hh:mm:ss ident[pid]: message`, in local time. A daemon that is not there, or too busy, costs the
//! line; the log proper has it all the same.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::logger::{self, Level};

/// Where the daemon listens.
const SOCKET: &str = "/dev/log";

/// The connection of the process, once it is wanted.
static SYSLOG: OnceLock<Syslog> = OnceLock::new();

/// A socket, and what each line begins with.
struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
    ident: String,
    facility: u8,
}

impl Syslog {
    fn new(path: &Path, ident: &str, facility: u8) -> io::Result<Syslog> {
        let socket = UnixDatagram::unbound()?;
        // A daemon that does not read must not hold up whoever logs.
        socket.set_nonblocking(true)?;
        Ok(Syslog {
            socket,
            path: path.to_owned(),
            ident: ident.to_owned(),
            facility,
        })
    }

    fn send(&self, level: Level, message: &str) -> io::Result<usize> {
        // The numbers of syslog(3): debug, info, notice, warning.
        let severity = match level {
            Level::Debug => 7,
            Level::Verbose => 6,
            Level::Notice => 5,
            Level::Warning | Level::Nothing => 4,
        };
        let line = format!(
            "<{}>{} {}[{}]: {message}",
            u32::from(self.facility) << 3 | severity,
            logger::syslog_time(),
            self.ident,
            std::process::id()
        );
        self.socket.send_to(line.as_bytes(), &self.path)
    }
}

/// Logs to syslog as well from now on. `facility` is its number, such as 16 for `local0`.
///
/// # Errors
/// There is no socket to be had.
pub fn open(ident: &str, facility: u8) -> io::Result<()> {
    let _ = SYSLOG.set(Syslog::new(Path::new(SOCKET), ident, facility)?);
    Ok(())
}

/// Passes a line of the log on, if it is to go there.
pub(super) fn log(level: Level, message: std::fmt::Arguments<'_>) {
    if let Some(syslog) = SYSLOG.get() {
        // There is nowhere to say that nobody listens.
        let _ = syslog.send(level, &message.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_as_syslog_has_them() {
        let path = std::env::temp_dir().join(format!("stdis-syslog-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let daemon = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::new(&path, "redis", 16).unwrap();
        syslog.send(Level::Warning, "full disk").unwrap();
        let mut got = [0; 200];
        let len = daemon.recv(&mut got).unwrap();
        let text = std::str::from_utf8(&got[..len]).unwrap();
        let tail = format!(" redis[{}]: full disk", std::process::id());
        let time = text.strip_prefix("<132>").unwrap();
        let time = time.strip_suffix(&tail).unwrap();
        // Mmm dd hh:mm:ss, the day with a blank in the place of a leading zero.
        assert_eq!(time.len(), 15, "{time:?}");
        assert_eq!([&time[3..4], &time[6..7], &time[9..10]], [" ", " ", ":"]);
        std::fs::remove_file(&path).unwrap();
        assert!(syslog.send(Level::Notice, "nobody").is_err());
    }
}
