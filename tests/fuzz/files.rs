//! Config files and ACL files made from lines that are nearly right. Whatever is in a file, it is
//! read or refused with a reason; what has been read can be shown, and what is shown can be read.

use std::path::Path;

use stdis::command::table;
use stdis::server::Server as Core;
use stdis::server::acl::file;
use stdis::server::config::table::{IMMUTABLE, TABLE};
use stdis::server::config::{self, Caller, Invocation};
use stdis::server::logger::{self, Level};

use crate::generate;
use crate::support::{Random, show, temp_dir};

/// Options that would have the test itself move or write elsewhere.
const LEFT_OUT: &[&str] = &["dir", "logfile", "aclfile"];

const VALUES: &[&str] = &[
    "yes",
    "no",
    "0",
    "1",
    "-1",
    "10",
    "100",
    "64mb",
    "1gb",
    "5%",
    "1k",
    "99999999999999999999",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "abc",
    "\"\"",
    "''",
    "\"a b\"",
    "\"\\x41\\n\"",
    "\"open",
    "'it\\'s'",
    "127.0.0.1",
    "::1",
    "-::*",
    "*",
    "no one",
    "everysec",
    "always",
    "allkeys-lru",
    "noeviction",
    "default",
    "900 1",
    "60 10 30",
    "normal 0 0 0",
    "replica 1mb 1 1",
    "pubsub 32mb 8mb 60 slave 0 0 0",
    "0 200 800",
    "KEA",
    "xyz",
    "50 99 99.9",
    "{title} {port}",
    "{nosuch}",
    "local0",
    "systemd",
    "755",
    "777777",
    "notice",
    "#",
    "\\",
    "\0",
    "on",
];
const RULES: &[&str] = &[
    "on",
    "off",
    "nopass",
    "resetpass",
    "reset",
    ">secret",
    "<secret",
    "#",
    "!",
    "~*",
    "~k*",
    "%R~a",
    "%W~b*",
    "%RW~",
    "%X~a",
    "allkeys",
    "resetkeys",
    "&*",
    "&c?",
    "allchannels",
    "resetchannels",
    "+@all",
    "-@all",
    "+get",
    "-get",
    "+client|id",
    "+config|nosuch",
    "-@nosuch",
    "+@read",
    "allcommands",
    "nocommands",
    "(+get ~a*)",
    "(+get",
    "~a*)",
    "(",
    ")",
    "()",
    "(-@all +set %W~x)",
    "clearselectors",
    "sanitize-payload",
    "skip-sanitize-payload",
    "+",
    "-",
    "@",
    "#c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2",
    "#xyz",
    "\0",
    "+debug|digest",
    "%",
    "nosuch",
];

/// What a line ends with.
const ENDS: &[&[u8]] = &[b"\n", b"\r\n", b"\n\n"];

/// A line that an option's name begins.
fn config_line(random: &mut Random) -> Vec<u8> {
    let mut words = match random.below(12) {
        0 => vec!["rename-command".to_string()],
        1 => vec![
            "user".to_string(),
            (*random.pick(&["default", "a", "b", "b c"])).to_string(),
        ],
        2 => vec!["include".to_string()],
        3 => vec!["# comment".to_string()],
        _ => vec![random.pick(TABLE).name.to_string()],
    };
    if LEFT_OUT.contains(&&*words[0]) {
        words[0] = "timeout".to_string();
    }
    let values = if words[0] == "user" { RULES } else { VALUES };
    for _ in 0..random.below(4) {
        words.push((*random.pick(values)).to_string());
    }
    words.join(*random.pick(&[" ", "  ", "\t"])).into_bytes()
}

/// A line of an ACL file.
fn acl_line(random: &mut Random) -> Vec<u8> {
    let name = *random.pick(&["default", "alice", "bob", "carol", "al ice", "", "d\0"]);
    let mut words = vec!["user", name];
    if random.below(30) == 0 {
        words.remove(0);
    }
    for _ in 0..random.below(6) {
        words.push(*random.pick(RULES));
    }
    words.join(" ").into_bytes()
}

/// Some lines, mostly as they should be.
fn text(random: &mut Random, line: fn(&mut Random) -> Vec<u8>) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..random.below(6) {
        let mut one = line(random);
        if random.below(6) == 0 && !one.is_empty() {
            let at = random.below(one.len() as u64) as usize;
            match random.below(4) {
                0 => one[at] ^= 1 << random.below(8),
                1 => one.truncate(at),
                2 => drop(one.splice(at..at, generate::argument(random))),
                _ => drop(one.remove(at)),
            }
            // A damaged line must not move the test elsewhere either.
            let word: Vec<u8> = one
                .iter()
                .copied()
                .take_while(|b| b.is_ascii_graphic())
                .collect();
            if LEFT_OUT
                .iter()
                .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
            {
                continue;
            }
        }
        text.extend(one);
        let end: &&[u8] = random.pick(ENDS);
        text.extend_from_slice(end);
    }
    text
}

/// Says, when the test fails, what the file was.
struct Culprit<'a>(u64, u64, &'a [u8]);

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Culprit(seed, number, text) = self;
            eprintln!(
                "STDIS_SEED={seed} STDIS_FUZZ_FIRST={number}: {}",
                show(text)
            );
        }
    }
}

/// Reads files `first..first + count` of each kind.
pub fn read_all(seed: u64, first: u64, count: u64) {
    logger::set_level(Level::Nothing);
    let dir = temp_dir();
    let path = dir.join("redis.conf");
    let (mut good, mut accepted) = (0, 0);
    for number in first..first + count {
        let mut random = crate::random(seed, number);
        let text = text(&mut random, config_line);
        let culprit = Culprit(seed, number, &text);
        good += u64::from(read_config(&path, &text));
        drop(culprit);
    }
    let users = dir.join("users.acl");
    let core = core(&users);
    for number in first..first + count {
        let mut random = crate::random(!seed, number);
        let text = text(&mut random, acl_line);
        let culprit = Culprit(seed, number, &text);
        accepted += u64::from(read_users(&core, &users, &text));
        drop(culprit);
    }
    let _ = std::fs::remove_dir_all(&dir);
    println!("of {count} files each, {good} with options and {accepted} with users were right");
    assert!(good > count / 50 && accepted > count / 50);
}

/// Writes a file that is new each time: to overwrite one can have the system write it out at once.
fn write(path: &Path, text: &[u8]) {
    let _ = std::fs::remove_file(path);
    std::fs::write(path, text).expect("written");
}

/// Whether the config file is right. If so, every option shows a value that it takes again.
fn read_config(path: &Path, text: &[u8]) -> bool {
    write(path, text);
    match config::load([path.as_os_str().to_owned()]) {
        Ok(Invocation::Run(loaded)) => {
            let users: Vec<_> = loaded.users.iter().map(|user| user.words.clone()).collect();
            // Whether they are right is another matter.
            let _ = file::check(&users);
            let caller = Caller {
                local: true,
                ..Caller::default()
            };
            for (name, value) in loaded.config.get(&[b"*"]) {
                let row = config::find(&name).expect("it is there").row();
                if row.has(IMMUTABLE) || LEFT_OUT.contains(&row.name) {
                    continue;
                }
                let pair: [(&[u8], &[u8]); 1] = [(&name, &value)];
                match loaded.config.set(&pair, caller, &mut |_| Ok(())) {
                    Ok(()) => assert_eq!(loaded.config.get(&[&name])[0].1, value),
                    Err(error) => assert!(
                        error.to_string().contains("protected config"),
                        "{} {}: {error}",
                        show(&name),
                        show(&value)
                    ),
                }
            }
            true
        }
        Ok(_) => panic!("not what a file asks for"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// A server with an ACL file that is to be read again and again.
fn core(users: &Path) -> Core {
    let args = ["--aclfile".into(), users.as_os_str().to_owned()];
    let Ok(Invocation::Run(loaded)) = config::load(args) else {
        panic!("these arguments are right");
    };
    Core::new(loaded.config, None, table::catalogue())
}

/// Whether the ACL file is right. If so, its users can be described, and the description is right
/// as well and describes the same.
fn read_users(core: &Core, path: &Path, text: &[u8]) -> bool {
    write(path, text);
    match core.acl.load(&core.config) {
        Ok(_) => {
            let described = |core: &Core| -> Vec<Vec<u8>> {
                core.acl
                    .all()
                    .iter()
                    .map(|user| file::describe(user))
                    .collect()
            };
            let mut before = described(core);
            let again = before.join(&b'\n');
            write(path, &again);
            let loaded = core.acl.load(&core.config);
            assert!(loaded.is_ok(), "{} became {}", show(text), show(&again));
            let mut after = described(core);
            before.sort();
            after.sort();
            assert_eq!(before, after);
            true
        }
        Err(reason) => {
            assert!(!reason.is_empty());
            false
        }
    }
}
