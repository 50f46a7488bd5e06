//! Which arguments of a command nobody else is to see, neither in `MONITOR` nor in the slow log.

use super::options::is;
use super::{Args, Row, migrate};
use crate::server::config;
use crate::server::config::table::SENSITIVE;

/// The positions of a command's secrets.
pub fn positions(row: &Row, args: &Args<'_>) -> Vec<usize> {
    match &*row.name {
        "auth" if args.len() <= 3 => (1..args.len()).collect(),
        "hello" => {
            let mut at = 2;
            while at < args.len() {
                let left = args.len() - 1 - at;
                if is(&args[at], "AUTH") && left >= 2 {
                    return vec![at + 1, at + 2];
                }
                at += 2;
            }
            Vec::new()
        }
        "migrate" => migrate::secrets(args).collect(),
        "config|set" => {
            let values = (3..args.len()).step_by(2);
            values.filter(|&at| is_sensitive(&args[at - 1])).collect()
        }
        "acl|setuser" | "acl|getuser" | "acl|deluser" => (2..args.len()).collect(),
        _ => Vec::new(),
    }
}

/// Options of Redis that hold secrets and do not exist here. Who tries to set one gives it away
/// nevertheless.
const FOREIGN: [&str; 4] = [
    "masterauth",
    "masteruser",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
];

/// Whether an option holds a secret.
fn is_sensitive(name: &[u8]) -> bool {
    match config::find(name) {
        Some(id) => id.row().has(SENSITIVE),
        None => FOREIGN.iter().any(|foreign| is(name, foreign)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;
    use crate::resp::OwnedArgs;

    fn of(line: &str) -> Vec<usize> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut owned = OwnedArgs::new(&words);
        let row = table().find(words[0].as_bytes()).expect("a command");
        let args = owned.args();
        positions(row.subcommand(&args[1]).unwrap_or(row), &args)
    }

    #[test]
    fn secrets_are_found() {
        assert_eq!(of("auth secret"), [1]);
        assert_eq!(of("AUTH name secret"), [1, 2]);
        assert_eq!(of("hello 3 setname x auth name secret"), [5, 6]);
        assert_eq!(of("hello 3 auth name"), []);
        assert_eq!(of("migrate h 1 k 0 1 copy auth2 name secret"), [8, 9]);
        assert_eq!(of("config set REQUIREPASS secret maxmemory 1"), [3]);
        assert_eq!(of("config set maxmemory 1 requirepass secret x"), [5]);
        assert_eq!(of("config set MasterAuth secret nothing 1"), [3]);
        assert_eq!(of("config get requirepass"), []);
        assert_eq!(of("set auth secret"), []);
    }
}
