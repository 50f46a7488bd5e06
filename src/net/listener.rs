//! Listening sockets: one thread each, which accepts clients and hands them to the pool.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connection::{Connection, IDLE_MS};
use super::pool::Pool;
use crate::server::Server;
use crate::server::acl::Acl;
use crate::server::client::Address;
use crate::server::config::{Config, id};
use crate::server::threads;
use crate::{log_verbose, log_warning, sys};

/// How long accepting rests after it failed for want of file descriptors or memory.
const REST: Duration = Duration::from_millis(50);

/// The name of the threads that accept, and their stack in bytes.
const NAME: &str = "listener";
/// See [`NAME`].
const STACK: usize = 128 << 10;

const DENIED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password \
is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to \
connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode \
sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same \
host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG \
REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis \
configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started \
the server manually just for testing, restart it with the '--protected-mode no' option. 4) Set up an authentication \
password for the default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";

/// A listening socket of either kind.
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// One listening socket and its thread.
struct Listener {
    socket: Arc<Socket>,
    closed: Arc<AtomicBool>,
}

/// All listening sockets.
pub struct Listeners {
    server: Arc<Server>,
    pool: Arc<Pool>,
    tcp: Mutex<Vec<Listener>>,
    unix: Mutex<Vec<Listener>>,
}

impl Listeners {
    /// Binds the addresses, port and unix socket of the configuration and starts accepting.
    ///
    /// # Errors
    /// The line to log when an address cannot be bound.
    pub fn start(server: &Arc<Server>, pool: &Arc<Pool>) -> Result<Arc<Listeners>, String> {
        let listeners = Arc::new(Listeners {
            server: server.clone(),
            pool: pool.clone(),
            tcp: Mutex::default(),
            unix: Mutex::default(),
        });
        listeners.bind_tcp()?;
        listeners.bind_unix()?;
        let nothing = |list: &Mutex<Vec<Listener>>| {
            list.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty()
        };
        if nothing(&listeners.tcp) && nothing(&listeners.unix) {
            return Err("Configured to not listen anywhere, exiting.".into());
        }
        Ok(listeners)
    }

    /// Binds the TCP addresses anew, after `port` or `bind` changed. The old sockets stay if that
    /// fails.
    ///
    /// # Errors
    /// The reason, as `CONFIG SET` reports it.
    pub fn bind_tcp(&self) -> Result<(), String> {
        let port = self.server.config.int(id::PORT) as u16;
        let mut listeners = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = Vec::new();
        if port != 0 {
            for word in self.server.config.words(id::BIND).iter() {
                wanted.extend(resolve(&String::from_utf8_lossy(word), port)?);
            }
        }
        // Sockets that stay are left alone, new ones come first, and only then the others go.
        let mut sockets = Vec::new();
        for (address, optional) in &wanted {
            if !listeners
                .iter()
                .any(|listener| listener.address() == Some(*address))
            {
                sockets.extend(self.bind(*address, *optional)?);
            }
        }
        let stays = |listener: &Listener| {
            wanted
                .iter()
                .any(|(address, _)| listener.address() == Some(*address))
        };
        let (kept, gone): (Vec<_>, Vec<_>) = listeners.drain(..).partition(stays);
        gone.into_iter().for_each(Listener::close);
        *listeners = kept;
        for socket in sockets {
            listeners.push(self.accept(Socket::Tcp(socket))?);
        }
        Ok(())
    }

    /// Closes everything and removes the unix socket's file.
    pub fn close(&self) {
        for list in [&self.tcp, &self.unix] {
            list.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .drain(..)
                .for_each(Listener::close);
        }
    }

    /// Binds one address; `None` when it may be missing on this machine and is.
    fn bind(&self, address: SocketAddr, optional: bool) -> Result<Option<TcpListener>, String> {
        let backlog = self.server.config.int(id::TCP_BACKLOG) as u32;
        match sys::bind_tcp(address, backlog) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if optional && is_missing(&error) => Ok(None),
            Err(error) => {
                let (reason, port) = (strip_code(&error), address.port());
                log_warning!(
                    "Warning: Could not create server TCP listening socket {address}: bind: {reason}"
                );
                Err(format!("Failed listening on port {port} (tcp), aborting."))
            }
        }
    }

    fn bind_unix(&self) -> Result<(), String> {
        let path = self.server.config.str(id::UNIXSOCKET);
        if path.is_empty() {
            return Ok(());
        }
        let path = PathBuf::from(String::from_utf8_lossy(&path).into_owned());
        let fail =
            |error: io::Error| format!("Failed opening Unix socket: bind: {}", strip_code(&error));
        // One left behind by a server that was killed; a live one is taken over, as in Redis.
        let _ = std::fs::remove_file(&path);
        let socket = UnixListener::bind(&path).map_err(fail)?;
        let _ = sys::listen(&socket, self.server.config.int(id::TCP_BACKLOG) as u32);
        let mode = self.server.config.int(id::UNIXSOCKETPERM) as u32;
        if mode != 0 {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(fail)?;
        }
        let listener = self.accept(Socket::Unix(socket, path))?;
        self.unix
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
        Ok(())
    }

    /// Starts the thread that accepts from a socket.
    fn accept(&self, socket: Socket) -> Result<Listener, String> {
        let listener = Listener {
            socket: Arc::new(socket),
            closed: Arc::default(),
        };
        let (socket, closed) = (listener.socket.clone(), listener.closed.clone());
        let (server, pool) = (self.server.clone(), self.pool.clone());
        let body = move || {
            server.loading.wait_until_open();
            while !closed.load(Ordering::Acquire) {
                let accepted = socket.accept();
                threads::fall_over(NAME);
                match accepted {
                    Ok((stream, address)) => welcome(&server, &pool, stream, address),
                    Err(_) if closed.load(Ordering::Acquire) => return,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        log_warning!(
                            "Accepting client connection: accept: {}",
                            strip_code(&error)
                        );
                        std::thread::sleep(REST);
                    }
                }
            }
        };
        threads::essential(NAME, STACK, body)
            .map_err(|error| format!("Cannot start a listener thread: {error}"))?;
        Ok(listener)
    }
}

impl Listener {
    /// The TCP address it listens on.
    fn address(&self) -> Option<SocketAddr> {
        match &*self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    fn close(self) {
        self.closed.store(true, Ordering::Release);
        // Ends the accept that its thread is waiting in.
        let _ = match &*self.socket {
            Socket::Tcp(socket) => sys::shutdown(socket),
            Socket::Unix(socket, path) => {
                let _ = std::fs::remove_file(path);
                sys::shutdown(socket)
            }
        };
    }
}

impl Socket {
    fn accept(&self) -> io::Result<(OwnedFd, Address)> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let local = stream.local_addr()?;
                let _ = stream.set_nodelay(true);
                let loopback = peer.ip().to_canonical().is_loopback();
                let address = Address {
                    peer: show(peer),
                    local: show(local),
                    unix: false,
                    loopback,
                };
                Ok((stream.into(), address))
            }
            Socket::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                let name = format!("{}:0", path.display());
                let address = Address {
                    peer: name.clone(),
                    local: name,
                    unix: true,
                    loopback: true,
                };
                Ok((stream.into(), address))
            }
        }
    }
}

/// The address of one word of `bind`: an address or a name, `*`, `::*`; with a `-` in front, one
/// that may be missing on this machine.
fn resolve(word: &str, port: u16) -> Result<Option<(SocketAddr, bool)>, String> {
    let (optional, name) = match word.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, word),
    };
    let address = match name {
        "*" => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into(),
        "::*" => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into(),
        name => match (name.trim_matches(['[', ']']), port).to_socket_addrs() {
            Ok(mut found) => return Ok(found.next().map(|address| (address, optional))),
            Err(error) if optional => {
                log_verbose!("Could not resolve {name}: {error}");
                return Ok(None);
            }
            Err(error) => {
                log_warning!(
                    "Warning: Could not create server TCP listening socket {name}:{port}: {error}"
                );
                return Err(format!("Failed listening on port {port} (tcp), aborting."));
            }
        },
    };
    Ok(Some((address, optional)))
}

/// Takes a new client in, or turns it away.
fn welcome(server: &Arc<Server>, pool: &Arc<Pool>, stream: OwnedFd, address: Address) {
    let config = &server.config;
    server.stats.connections.fetch_add(1, Ordering::Relaxed);
    if is_kept_out(config, &server.acl, &address) {
        server
            .stats
            .rejected_connections
            .fetch_add(1, Ordering::Relaxed);
        return turn_away(stream, DENIED);
    }
    if !address.unix {
        let _ = sys::set_keepalive(stream.as_fd(), config.int(id::TCP_KEEPALIVE) as u32);
    }
    let _ = sys::set_receive_timeout(stream.as_fd(), IDLE_MS);
    let socket = Arc::new(File::from(stream));
    let most = config.int(id::MAXCLIENTS) as usize;
    log_verbose!("Accepted {}", address.peer);
    match server.clients.add(socket.clone(), address, most) {
        Some(client) => pool.submit(Connection::new(server.clone(), client)),
        None => {
            server
                .stats
                .rejected_connections
                .fetch_add(1, Ordering::Relaxed);
            if let Ok(socket) = Arc::try_unwrap(socket) {
                turn_away(socket.into(), "-ERR max number of clients reached\r\n");
            }
        }
    }
}

/// Whether protected mode turns a client away: it comes from another machine, and anybody could.
fn is_kept_out(config: &Config, acl: &Acl, address: &Address) -> bool {
    let open = || acl.default_user().rights().needs_no_password();
    config.bool(id::PROTECTED_MODE) && !address.loopback && open()
}

/// Sends a client a last word and closes.
fn turn_away(stream: OwnedFd, why: &str) {
    let _ = sys::set_nonblocking(stream.as_fd(), true);
    let _ = File::from(stream).write(why.as_bytes());
}

/// An address as Redis prints it: IPv6 in brackets.
fn show(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// Whether the address or its protocol does not exist on this machine.
fn is_missing(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    const EPROTONOSUPPORT: i32 = 93;
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EPROTONOSUPPORT))
}

/// The text of an error without the number that std puts behind it.
fn strip_code(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::acl::catalogue::Catalogue;
    use crate::server::config::Caller;

    #[test]
    fn protected_mode_keeps_out_who_comes_from_elsewhere() {
        let config = Config::new();
        let acl = Acl::new(Catalogue::default(), &config);
        let from = |loopback| Address {
            peer: String::new(),
            local: String::new(),
            unix: false,
            loopback,
        };
        assert!(is_kept_out(&config, &acl, &from(false)));
        assert!(!is_kept_out(&config, &acl, &from(true)));
        acl.set_default_password(b"sesame");
        assert!(!is_kept_out(&config, &acl, &from(false)));
        acl.set_default_password(b"");
        assert!(is_kept_out(&config, &acl, &from(false)));
        let pairs = [(&b"protected-mode"[..], &b"no"[..])];
        let set = config.set(&pairs, Caller::default(), &mut |_| Ok(()));
        assert!(set.is_ok());
        assert!(!is_kept_out(&config, &acl, &from(false)));
    }
}
