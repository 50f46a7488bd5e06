//! The process as the system sees it: who looks after it, its title, and how readily it is ended
//! when memory runs out.
//!
//! An init that supervises the server is told when it is ready. systemd names a datagram socket in
//! `NOTIFY_SOCKET`, which gets lines such as `READY=1`; upstart waits until the process stops
//! itself. <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::Server;
use super::config::process::{
    OOM_NO, OOM_RELATIVE, SUPERVISED_AUTO, SUPERVISED_SYSTEMD, SUPERVISED_UPSTART, expand_title,
};
use super::config::value::Value;
use super::config::{Config, id};
use crate::{log_notice, log_warning, sys};

/// Where the system reads how readily the process is to be ended.
const OOM_FILE: &str = "/proc/self/oom_score_adj";
/// The bounds of a score.
const OOM_SCORES: (i64, i64) = (-1000, 1000);
/// Tells whether the system uses huge pages where nobody asks for them.
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Who supervises the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Supervisor {
    /// systemd, with the socket it listens on.
    Systemd,
    /// upstart.
    Upstart,
}

/// Who does, once that is known.
static SUPERVISOR: OnceLock<Supervisor> = OnceLock::new();

/// In the environment of a run that is to begin later: after how many milliseconds.
const LATER: &str = "STDIS_START_AFTER_MS";

/// How the process was started.
struct Start {
    program: PathBuf,
    arguments: Vec<OsString>,
    dir: PathBuf,
}

static START: OnceLock<Start> = OnceLock::new();

/// Remembers how the process was started; before the working directory changes.
pub fn note_start(arguments: &[OsString]) {
    if let (Ok(program), Ok(dir)) = (std::env::current_exe(), std::env::current_dir()) {
        let _ = START.set(Start {
            program,
            arguments: arguments.to_vec(),
            dir,
        });
    }
    let later = std::env::var(LATER).ok().and_then(|text| text.parse().ok());
    std::thread::sleep(Duration::from_millis(later.unwrap_or(0)));
}

/// Whether the program can still be started; if not, the log is told.
pub fn can_start_again() -> bool {
    let Some(start) = START.get() else {
        return false;
    };
    let may_run = |data: fs::Metadata| data.is_file() && data.permissions().mode() & 0o111 != 0;
    let can = fs::metadata(&start.program).is_ok_and(may_run);
    if !can {
        let program = start.program.display();
        log_warning!("Can't restart: this process has no permissions to execute {program}");
    }
    can
}

/// Puts another run of the program in the place of this one, which begins after a delay. Comes back only
/// if that fails.
pub fn start_again(delay: Duration) -> io::Error {
    let Some(start) = START.get() else {
        return io::ErrorKind::NotFound.into();
    };
    // The new run waits: everything that this one has open is closed by then.
    Command::new(&start.program)
        .args(&start.arguments)
        .current_dir(&start.dir)
        .env(LATER, delay.as_millis().to_string())
        .exec()
}

/// What there is to remember about the process.
#[derive(Default)]
pub struct Process {
    /// The score there was before the server changed it; `None` as long as it has not.
    oom_base: Mutex<Option<i64>>,
    /// What the process calls itself in its title.
    name: OnceLock<String>,
}

/// Finds out who supervises the server, as far as `supervised` asks for it, and returns whether
/// somebody does; the process then stays in the foreground. Upstart is told at once that it runs.
pub fn supervise(config: &Config) -> bool {
    let mut mode = config.int(id::SUPERVISED);
    let named = |name: &str| std::env::var_os(name).is_some();
    if mode == SUPERVISED_AUTO {
        if named("UPSTART_JOB") {
            mode = SUPERVISED_UPSTART;
        } else if named("NOTIFY_SOCKET") {
            mode = SUPERVISED_SYSTEMD;
        }
    }
    let supervisor = match mode {
        SUPERVISED_UPSTART if !named("UPSTART_JOB") => {
            log_warning!("upstart supervision requested, but UPSTART_JOB not found!");
            return false;
        }
        SUPERVISED_UPSTART => Supervisor::Upstart,
        SUPERVISED_SYSTEMD if !named("NOTIFY_SOCKET") => {
            log_warning!("systemd supervision error: NOTIFY_SOCKET not found!");
            return false;
        }
        SUPERVISED_SYSTEMD => Supervisor::Systemd,
        _ => return false,
    };
    let _ = SUPERVISOR.set(supervisor);
    match supervisor {
        Supervisor::Upstart => {
            log_notice!("supervised by upstart, will stop to signal readiness.");
            sys::stop_self();
        }
        Supervisor::Systemd => {
            log_warning!(
                "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and \
                 TimeoutStopSec in your service unit."
            );
            tell("STATUS=Redis is loading...\n");
        }
    }
    true
}

/// Who supervises the server, as `INFO` shows it.
pub fn supervised() -> &'static str {
    match SUPERVISOR.get() {
        Some(Supervisor::Systemd) => "systemd",
        Some(Supervisor::Upstart) => "upstart",
        None => "no",
    }
}

/// Tells systemd something, if it supervises the server.
pub fn tell(text: &str) {
    if SUPERVISOR.get() == Some(&Supervisor::Systemd)
        && let Some(name) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&name, text)
    {
        log_warning!("systemd supervision error: {error}");
    }
}

/// Sends a datagram to a socket that is named by its path, or by an abstract name behind an `@`.
fn send(name: &OsStr, text: &str) -> std::io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

/// Tells systemd that clients are served.
pub fn tell_ready(server: &Server) {
    tell(match server.replication.is_replica() {
        false => "STATUS=Ready to accept connections\n",
        true => {
            "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA sync\n"
        }
    });
    tell("READY=1\n");
}

/// Has the system use no huge pages for this process, where it would by itself.
pub fn avoid_huge_pages(config: &Config) {
    let enabled = fs::read_to_string(HUGE_PAGES).unwrap_or_default();
    if config.bool(id::DISABLE_THP)
        && enabled.contains("[always]")
        && let Err(error) = sys::disable_huge_pages()
    {
        log_warning!("Failed to disable THP: {error}");
    }
}

impl Process {
    /// Makes the title of the process one of the server's choice, if it is to. Before any thread
    /// is started.
    pub fn claim_title(&self, config: &Config) {
        if !config.bool(id::SET_PROC_TITLE) {
            return;
        }
        // Once there is a title, it is too late to ask.
        let name = std::env::args_os().next().unwrap_or_default();
        if sys::claim_title().is_ok() {
            let _ = self.name.set(name.to_string_lossy().into_owned());
        }
    }

    /// Shows the title that `proc-title-template` describes.
    pub fn show_title(&self, server: &Server) {
        let Some(name) = self.name.get() else { return };
        let config = &server.config;
        let template = config.str(id::PROC_TITLE_TEMPLATE);
        let title = expand_title(&template, |variable| {
            Some(match variable {
                b"title" => name.as_bytes().to_vec(),
                b"listen-addr" => listen_address(config),
                b"config-file" => match &server.config_file {
                    Some(path) => path.as_os_str().as_bytes().to_vec(),
                    None => b"-".to_vec(),
                },
                b"port" => config.int(id::PORT).to_string().into_bytes(),
                b"tls-port" => b"0".to_vec(),
                b"unixsocket" => config.str(id::UNIXSOCKET).to_vec(),
                // There is one mode, which has no name.
                b"server-mode" => Vec::new(),
                _ => return None,
            })
        });
        let title = title.unwrap_or_default();
        sys::set_title(String::from_utf8_lossy(title.trim_ascii()).trim());
    }

    /// Sets how readily the process is ended when memory runs out, as `oom-score-adj` says, which
    /// depends on the role of the server.
    ///
    /// # Errors
    /// The score cannot be read or written; the log has been told why.
    pub fn adjust_oom_score(&self, server: &Server) -> Result<(), String> {
        let mut base = self.oom_base.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = server.config.int(id::OOM_SCORE_ADJ_OPT);
        let failed = |what: &str, error: std::io::Error| {
            log_warning!("Unable to {what} oom_score_adj: {error}");
            "Failed to set current oom_score_adj. Check server logs.".to_owned()
        };
        let score = if mode == OOM_NO {
            match base.take() {
                Some(base) => base,
                None => return Ok(()),
            }
        } else {
            let known = match *base {
                Some(known) => known,
                None => {
                    let text = fs::read_to_string(OOM_FILE).map_err(|e| failed("read", e))?;
                    *base.insert(text.trim().parse().unwrap_or(0))
                }
            };
            let values = match server.config.value(id::OOM_SCORE_ADJ_VALUES) {
                Value::Ints(values) => values,
                _ => return Ok(()),
            };
            let class = usize::from(server.replication.is_replica());
            let value = values.get(class).copied().unwrap_or(0);
            let score = if mode == OOM_RELATIVE {
                known + value
            } else {
                value
            };
            score.clamp(OOM_SCORES.0, OOM_SCORES.1)
        };
        fs::write(OOM_FILE, format!("{score}\n")).map_err(|e| failed("write", e))
    }
}

/// Where the server listens, in short.
fn listen_address(config: &Config) -> Vec<u8> {
    let port = config.int(id::PORT);
    if port == 0 {
        return [b"unixsocket:", &config.str(id::UNIXSOCKET)[..]].concat();
    }
    let first = config.words(id::BIND).first().cloned();
    let mut text = first.unwrap_or_else(|| b"*".to_vec());
    text.extend_from_slice(format!(":{port}").as_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_reach_both_kinds_of_socket() {
        let name = format!("stdis-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let _ = fs::remove_file(&path);
        let abstracted = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, name) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into()),
            (
                UnixDatagram::bind_addr(&abstracted).unwrap(),
                std::ffi::OsString::from(format!("@{name}")),
            ),
        ] {
            send(&name, "READY=1\n").unwrap();
            let mut got = [0; 16];
            let len = socket.recv(&mut got).unwrap();
            assert_eq!(&got[..len], b"READY=1\n");
        }
        fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str(), "x").is_err());
    }
}
