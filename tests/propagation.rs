//! What the append only file holds after each command, against what redis-server 7.0 logs.
//!
//! A script in `tests/propagation/*.txt` runs on both servers at once, each with an append only file
//! that is synced before every reply. After each line the commands that both files have grown by
//! must be the same ones; after the whole script the data set must come back unchanged from our
//! file: on demand, at a restart, and in a redis-server that is started on a copy of the directory.
//!
//! # Scripts
//!
//! One command a line, its words separated by spaces; `"..."` quotes, with `\r`, `\n`, `\"`, `\\`
//! and `\xHH`. `{ms+N}` and `{s+N}` in a word stand for the time in so many milliseconds or
//! seconds, `{dump:KEY}` for what redis-server dumps, `{target}` for the port of a third server.
//! Lines that start with `#` are comments; with `@`:
//!
//! | directive | meaning |
//! | --- | --- |
//! | `@client N` | go on with connection N |
//! | `@send COMMAND` | the command will block: wait until it does, not for its reply |
//! | `@read` | read the reply to a command that was sent so |
//! | `@pause N` | let N milliseconds pass, for a deadline to be over |
//! | `@until N` | the next command is repeated until the files have grown by N commands |
//! | `@shape` | of what the next command logs only the first two words and the number of words compare |
//! | `@ours` | the next command is for stdis only: redis-server 7.0 does not have it |
//! | `@differs` | what the next command logs is not compared with redis-server's, but with `>` |
//! | `> WORDS` | behind a command: what stdis is to log; `*` stands for any word |
//! | `@noredis` | no redis-server can read the file |
//!
//! Letter case does not count, and numbers that are times may lie some seconds apart. `SELECT` is
//! not compared as such, but the database of each command: 7.0 puts it before a `MULTI` and 7.2
//! behind. A line of `>` names a database other than 0 in front, as in `> [3] DEL key`.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{Client, Server, Value, eventually, temp_dir};

/// A command as it was logged.
type Words = Vec<Vec<u8>>;

/// How far apart two times may lie, milliseconds.
const NEAR: i64 = 20_000;

const ARGS: [&str; 12] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--aof-use-rdb-preamble",
    "yes",
    "--auto-aof-rewrite-percentage",
    "0",
    "--enable-debug-command",
    "yes",
    "--databases",
    "16",
];

/// One server with what has been read of its file.
struct Side {
    server: Server,
    clients: Vec<Client>,
    read: usize,
    /// The database that has been selected there, once one has been.
    db: Option<Vec<u8>>,
}

impl Side {
    fn new(server: Server) -> Side {
        let clients = vec![server.client()];
        Side {
            server,
            clients,
            read: 0,
            db: None,
        }
    }

    fn client(&mut self, number: usize) -> &mut Client {
        while self.clients.len() <= number {
            self.clients.push(self.server.client());
        }
        &mut self.clients[number]
    }

    /// The commands that the file has grown by, with their databases in front if these are not the
    /// first ones.
    fn grown(&mut self) -> Vec<Words> {
        let path = self
            .server
            .dir()
            .join("appendonlydir/appendonly.aof.1.incr.aof");
        let bytes = fs::read(path).expect("the increment");
        let (commands, end) = commands(&bytes[self.read..]);
        self.read += end;
        let mut grown = Vec::new();
        for mut words in commands {
            if words[0].eq_ignore_ascii_case(b"SELECT") {
                self.db = Some(words.remove(1));
                continue;
            }
            let is_mark = words.len() == 1 && matches!(&words[0][..], b"MULTI" | b"EXEC");
            if !is_mark {
                let db = self.db.as_deref().expect("a database has been selected");
                if db != b"0" {
                    words.insert(0, [b"[", db, b"]"].concat());
                }
            }
            grown.push(words);
        }
        grown
    }
}

/// The complete commands in the text of an append only file, and where they end.
fn commands(bytes: &[u8]) -> (Vec<Words>, usize) {
    fn line<'a>(bytes: &'a [u8], at: &mut usize, kind: u8) -> Option<usize> {
        let rest: &'a [u8] = &bytes[*at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        assert_eq!(rest[0], kind, "{}", support::show(&rest[..end]));
        *at += end + 2;
        std::str::from_utf8(&rest[1..end]).ok()?.parse().ok()
    }
    fn one(bytes: &[u8], at: &mut usize) -> Option<Words> {
        let count = line(bytes, at, b'*')?;
        let mut words = Vec::new();
        for _ in 0..count {
            let length = line(bytes, at, b'$')?;
            words.push(bytes.get(*at..*at + length)?.to_vec());
            *at += length + 2;
        }
        (*at <= bytes.len()).then_some(words)
    }
    let (mut all, mut end) = (Vec::new(), 0);
    let mut at = 0;
    while at < bytes.len() {
        let Some(words) = one(bytes, &mut at) else {
            break;
        };
        all.push(words);
        end = at;
    }
    (all, end)
}

/// Whether two words mean the same.
fn same_word(left: &[u8], right: &[u8]) -> bool {
    fn time(word: &[u8]) -> Option<(i64, &str)> {
        let text = std::str::from_utf8(word).ok()?;
        let end = text.find('-').filter(|&end| end > 0).unwrap_or(text.len());
        let number: i64 = text[..end].parse().ok()?;
        (1_000_000_000_000..10_000_000_000_000)
            .contains(&number)
            .then_some((number, &text[end..]))
    }
    if left.eq_ignore_ascii_case(right) {
        return true;
    }
    match (time(left), time(right)) {
        // Which entries come within one millisecond is up to each server.
        (Some(left), Some(right)) => {
            (left.0 - right.0).abs() < NEAR && left.1.is_empty() == right.1.is_empty()
        }
        _ => false,
    }
}

fn same(left: &[Words], right: &[Words], shape: bool) -> bool {
    let same_command = |(left, right): (&Words, &Words)| {
        let most = if shape { 2 } else { usize::MAX };
        let mut words = left.iter().zip(right).take(most);
        left.len() == right.len()
            && words.all(|(left, right)| right == b"*" || same_word(left, right))
    };
    left.len() == right.len() && left.iter().zip(right).all(same_command)
}

fn text(commands: &[Words]) -> String {
    let word = |word: &Vec<u8>| match word.len() {
        0 => "\"\"".to_owned(),
        1..200 => support::show(word),
        length => format!("({length} bytes)"),
    };
    let line = |words: &Words| words.iter().map(word).collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = commands.iter().map(line).collect();
    match lines.is_empty() {
        true => "(nothing)".to_owned(),
        false => lines.join(" | "),
    }
}

/// The words of a line.
fn words(line: &str) -> Words {
    let (mut all, mut word, mut quoted, mut any) = (Vec::new(), Vec::new(), false, false);
    let mut chars = line.bytes();
    while let Some(byte) = chars.next() {
        match byte {
            b'"' => {
                quoted = !quoted;
                any = true;
            }
            b' ' if !quoted => {
                if any {
                    all.push(std::mem::take(&mut word));
                }
                any = false;
            }
            b'\\' if quoted => match chars.next() {
                Some(b'r') => word.push(b'\r'),
                Some(b'n') => word.push(b'\n'),
                Some(b'x') => {
                    let digits = [chars.next(), chars.next()].map(Option::unwrap_or_default);
                    let digits = std::str::from_utf8(&digits).expect("digits");
                    word.push(u8::from_str_radix(digits, 16).expect("two digits"));
                }
                Some(other) => word.push(other),
                None => panic!("{line}: ends with a backslash"),
            },
            _ => {
                word.push(byte);
                any = true;
            }
        }
    }
    if any {
        all.push(word);
    }
    all
}

fn now() -> i64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.expect("a time after 1970").as_millis() as i64
}

/// A run of one script.
struct Run {
    ours: Side,
    redis: Side,
    target: Option<Server>,
    client: usize,
    report: String,
}

/// What the directives before a command have said about it.
#[derive(Default)]
struct Terms {
    shape: bool,
    ours: bool,
    differs: bool,
    until: Option<usize>,
}

impl Run {
    fn start() -> Run {
        let ours = Side::new(Server::with(&ARGS));
        let redis = Side::new(Server::redis(&ARGS));
        Run {
            ours,
            redis,
            target: None,
            client: 0,
            report: String::new(),
        }
    }

    /// Puts in what stands in braces.
    fn fill_in(&mut self, words: Words) -> Words {
        let number = |text: &str| -> i64 { text.parse().expect("a number") };
        let mut fill = |word: Vec<u8>| {
            let Ok(text) = std::str::from_utf8(&word) else {
                return word;
            };
            let Some(name) = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) else {
                return word;
            };
            if let Some(time) = name.strip_prefix("ms") {
                return (now() + number(time)).to_string().into_bytes();
            }
            if let Some(time) = name.strip_prefix("s") {
                return (now() / 1000 + number(time)).to_string().into_bytes();
            }
            if let Some(key) = name.strip_prefix("dump:") {
                return self.redis.client(0).cmd(&["DUMP", key]).bytes().to_vec();
            }
            assert_eq!(name, "target");
            let target = self.target.get_or_insert_with(|| Server::redis(&[]));
            target.port().to_string().into_bytes()
        };
        words.into_iter().map(&mut fill).collect()
    }

    fn sides(&mut self) -> [&mut Side; 2] {
        [&mut self.ours, &mut self.redis]
    }

    /// Runs all lines.
    fn lines(&mut self, script: &str) {
        let mut lines = script.lines().map(str::trim).peekable();
        let mut terms = Terms::default();
        while let Some(line) = lines.next() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (directive, rest) = line.split_once(' ').unwrap_or((line, ""));
            match directive {
                "@client" => {
                    self.client = rest.parse().expect("a number");
                    continue;
                }
                "@pause" => {
                    std::thread::sleep(Duration::from_millis(rest.parse().expect("a number")));
                    continue;
                }
                "@until" => {
                    terms.until = Some(rest.parse().expect("a number"));
                    continue;
                }
                "@shape" => {
                    terms.shape = true;
                    continue;
                }
                "@ours" => {
                    terms.ours = true;
                    continue;
                }
                "@differs" => {
                    terms.differs = true;
                    continue;
                }
                "@noredis" => continue,
                _ => {}
            }
            let mut expected: Vec<Words> = Vec::new();
            while let Some(words_of) = lines.peek().and_then(|line| line.strip_prefix("> ")) {
                expected.push(words(words_of));
                lines.next();
            }
            let terms = std::mem::take(&mut terms);
            self.step(line, &expected, terms);
        }
    }

    fn step(&mut self, line: &str, expected: &[Words], terms: Terms) {
        let number = self.client;
        let ours_only = terms.ours;
        let mut logged = [Vec::new(), Vec::new()];
        if line == "@read" {
            for side in self.sides() {
                side.client(number).recv();
            }
        } else if let Some(command) = line.strip_prefix("@send ") {
            let command = self.fill_in(words(command));
            for side in self.sides() {
                let before = side.server.info_int("blocked_clients");
                side.client(number).send(&command);
                eventually("the client blocks", Duration::from_secs(5), || {
                    side.server.info_int("blocked_clients") > before
                });
            }
        } else {
            let command = self.fill_in(words(line));
            let mut replies = Vec::new();
            let sides = if ours_only { 1 } else { 2 };
            for (side, logged) in self.sides().into_iter().zip(&mut logged).take(sides) {
                match terms.until {
                    None => replies.push(side.client(number).cmd(&command)),
                    Some(count) => eventually(line, Duration::from_secs(10), || {
                        side.client(number).cmd(&command);
                        logged.extend(side.grown());
                        logged.len() >= count
                    }),
                }
            }
            let failed = |reply: &Value| matches!(reply, Value::Error(_));
            if let [ours, redis] = &replies[..]
                && failed(ours) != failed(redis)
            {
                self.report.push_str(&format!(
                    "{line}\n    redis  {redis:?}\n    stdis  {ours:?}\n"
                ));
            }
        }
        for (side, logged) in self.sides().into_iter().zip(&mut logged) {
            logged.extend(side.grown());
        }
        let [ours, redis] = &logged;
        let wanted = match expected.is_empty() && !terms.differs && !ours_only {
            true => redis,
            false => expected,
        };
        if !same(ours, wanted, terms.shape) {
            self.report.push_str(&format!(
                "{line}\n    redis  {}\n    stdis  {}\n",
                text(wanted),
                text(ours)
            ));
        }
    }

    /// The data set must come back from the file.
    fn come_back(&mut self, redis_reads: bool) {
        let server = &mut self.ours.server;
        self.ours.clients.clear();
        let mut client = server.client();
        let before = client.run("DEBUG DIGEST");
        let mut check = |what: &str, after: Value| {
            if after != before {
                let line = format!("after {what}: {after:?}, before {before:?}\n");
                self.report.push_str(&line);
            }
        };
        let reply = client.run("DEBUG LOADAOF");
        assert_eq!(reply, support::simple("OK"), "{}", server.log());
        check("DEBUG LOADAOF", client.run("DEBUG DIGEST"));
        let copy = temp_dir();
        copy_folder(server.dir(), &copy);
        server.restart();
        let mut client = server.client();
        check("a restart", client.run("DEBUG DIGEST"));
        if redis_reads {
            let at = copy.display().to_string();
            let reader = Server::redis(&[&ARGS[..], &["--dir", &at]].concat());
            let log = reader.log();
            assert!(!log.contains("CRITICAL"), "{log}");
            check("redis-server loads it", reader.client().run("DEBUG DIGEST"));
        }
        let _ = fs::remove_dir_all(&copy);
        let log = server.log();
        assert!(!log.contains("CRITICAL"), "{log}");
    }
}

/// Copies the append only file of a server's directory.
fn copy_folder(from: &Path, to: &Path) {
    let folder = to.join("appendonlydir");
    fs::create_dir_all(&folder).expect("a folder");
    for entry in fs::read_dir(from.join("appendonlydir")).expect("the folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, folder.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

fn scripts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/propagation");
    let mut all: Vec<(String, String)> = fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            (
                name.into_owned(),
                fs::read_to_string(&path).expect("a text"),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn what_is_logged_agrees() {
    let only = std::env::var("STDIS_SCRIPT").unwrap_or_default();
    let mut report = String::new();
    for (name, script) in scripts() {
        if !name.contains(&only) {
            continue;
        }
        println!("{name}");
        let mut run = Run::start();
        run.lines(&script);
        run.come_back(!script.contains("@noredis"));
        if !run.report.is_empty() {
            report.push_str(&format!("--- {name}\n{}", run.report));
        }
    }
    assert!(report.is_empty(), "stdis and redis-server differ\n{report}");
}
