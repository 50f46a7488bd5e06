//! Money is moved between accounts while the data set is saved in every way there is; each file
//! that comes of it has the same sum in it. A second server, which stays up, loads the files.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::{Client, Random, Server, Value, encode, info, oracle, temp_dir};
use crate::{ask, await_end, long};

/// Accounts that are keys, in each of two databases, and accounts that are fields of one hash.
const ACCOUNTS: u64 = 40;
/// What is in each at first.
const DEPOSIT: i64 = 100;
/// Coins, each a member of one of two sets and an element of one of two lists.
const COINS: u64 = 300;
/// Purses, each a key that is renamed, among so many names.
const PURSES: i64 = 40;
const NAMES: u64 = 100;
/// Tokens, each a key that is moved from one database to the other.
const TOKENS: u64 = 60;
/// Keys in each of two databases that are swapped.
const SWAPPED: [i64; 2] = [30, 20];
/// Clients that move money.
const MOVERS: u64 = 3;

/// After this time no more files are made, where the machine is slow or has other things to do.
const ENOUGH: Duration = Duration::from_secs(50);

/// Ways of saving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Save,
    Background,
    RewriteAsRdb,
    RewriteAsText,
}

const WAYS: [Way; 4] = [
    Way::Save,
    Way::Background,
    Way::RewriteAsRdb,
    Way::RewriteAsText,
];

/// A server that is given files to load.
struct Reader {
    server: Server,
    client: Client,
    dir: PathBuf,
}

impl Reader {
    fn start() -> Reader {
        let dir = temp_dir();
        let folder = dir.join("appendonlydir");
        fs::create_dir(&folder).expect("create a directory");
        let manifest = "file base seq 1 type b\n";
        fs::write(folder.join("appendonly.aof.manifest"), manifest).expect("write a file");
        let path = dir.display().to_string();
        let server = Server::with(&["--dir", &path, "--enable-debug-command", "yes"]);
        let client = server.client();
        Reader {
            server,
            client,
            dir,
        }
    }

    /// Loads a file that was saved by `saver` and tells what is wrong with the money in it.
    fn check(&mut self, saver: &Server, way: Way) -> Result<(), String> {
        let (from, to, load) = match way {
            Way::Save | Way::Background => (
                saver.dir().join("dump.rdb"),
                "dump.rdb",
                "DEBUG RELOAD NOSAVE",
            ),
            Way::RewriteAsRdb | Way::RewriteAsText => {
                (base(saver), "appendonlydir/base", "DEBUG LOADAOF")
            }
        };
        fs::copy(&from, self.dir.join(to))
            .map_err(|error| format!("{}: {error}", from.display()))?;
        let reply = self.client.run(load);
        if reply != "OK" {
            return Err(format!("{load}: {reply:?}"));
        }
        let sum = |reply: Value| -> i64 {
            let texts = reply.texts().into_iter();
            texts
                .map(|text| text.parse::<i64>().unwrap_or(-1_000_000))
                .sum()
        };
        let mut total = sum(self.client.run("HVALS accounts"));
        let keys: Vec<String> = (0..ACCOUNTS).map(|n| format!("account:{n}")).collect();
        let mut get = vec!["MGET"];
        get.extend(keys.iter().map(String::as_str));
        for database in ["0", "1"] {
            self.client.cmd(&["SELECT", database]);
            total += sum(self.client.cmd(&get));
        }
        self.client.run("SELECT 0");
        let expected = 3 * ACCOUNTS as i64 * DEPOSIT;
        if total != expected {
            return Err(format!("{total} instead of {expected} in the accounts"));
        }
        for (left, right, what) in [
            ("SMEMBERS set:0", "SMEMBERS set:1", "sets"),
            ("LRANGE list:0 0 -1", "LRANGE list:1 0 -1", "lists"),
        ] {
            let mut coins = self.client.run(left).texts();
            coins.extend(self.client.run(right).texts());
            coins.sort();
            coins.dedup();
            if coins.len() as u64 != COINS {
                return Err(format!(
                    "{} instead of {COINS} coins in the {what}",
                    coins.len()
                ));
            }
        }
        self.check_keys()
    }

    /// What is done to whole keys and databases.
    fn check_keys(&mut self) -> Result<(), String> {
        let c = &mut self.client;
        let purses = c.run("KEYS purse:*").items().len() as i64;
        if purses != PURSES {
            return Err(format!("{purses} instead of {PURSES} purses"));
        }
        let mut tokens = c.run("KEYS token:*").texts();
        let mut values = Vec::new();
        let mut uniform = true;
        let mut sizes = Vec::new();
        for database in ["1", "2", "3", "4"] {
            c.cmd(&["SELECT", database]);
            if database == "1" {
                tokens.extend(c.run("KEYS token:*").texts());
                continue;
            }
            let keys = c.run("KEYS *").texts();
            sizes.push(keys.len() as i64);
            let mut get = vec!["MGET".to_owned()];
            get.extend(keys);
            values = c.cmd(&get).texts();
            uniform &= values.windows(2).all(|pair| pair[0] == pair[1]);
        }
        c.run("SELECT 0");
        tokens.sort();
        tokens.dedup();
        if tokens.len() as u64 != TOKENS {
            return Err(format!("{} instead of {TOKENS} tokens", tokens.len()));
        }
        let swapped = sizes[..2] == SWAPPED || sizes[..2] == [SWAPPED[1], SWAPPED[0]];
        if !swapped || sizes[2] != 10 || !uniform {
            return Err(format!(
                "databases of {sizes:?} keys, {values:?} in the last"
            ));
        }
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.server.kill9();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The base that the manifest of a server names.
fn base(server: &Server) -> PathBuf {
    let folder = server.dir().join("appendonlydir");
    let text = fs::read_to_string(folder.join("appendonly.aof.manifest")).expect("a manifest");
    let line = text.lines().find(|line| line.ends_with("type b"));
    let name = line
        .and_then(|line| line.split(' ').nth(1))
        .expect("a base");
    folder.join(name)
}

/// Moves money until it is over.
fn keep_moving(client: &mut Client, random: &mut Random, over: &AtomicBool, moves: &AtomicU64) {
    let account = |random: &mut Random| format!("account:{}", random.below(ACCOUNTS));
    while !over.load(Relaxed) {
        let (from, to) = (account(random), account(random));
        let amount = random.below(30).to_string();
        let mut bytes = encode(&["MULTI"]);
        let queued = match random.below(4) {
            0 => {
                bytes.extend(encode(&["DECRBY", &from, &amount]));
                bytes.extend(encode(&["INCRBY", &to, &amount]));
                2
            }
            1 => {
                // From one database to the other.
                bytes.extend(encode(&["DECRBY", &from, &amount]));
                bytes.extend(encode(&["SELECT", "1"]));
                bytes.extend(encode(&["INCRBY", &to, &amount]));
                bytes.extend(encode(&["SELECT", "0"]));
                4
            }
            2 => {
                bytes.extend(encode(&[
                    "HINCRBY",
                    "accounts",
                    &from,
                    &format!("-{amount}"),
                ]));
                bytes.extend(encode(&["INCRBY", &to, &amount]));
                2
            }
            _ => {
                bytes.extend(encode(&["DECRBY", &from, &amount]));
                bytes.extend(encode(&["HINCRBY", "accounts", &to, &amount]));
                2
            }
        };
        bytes.extend(encode(&["EXEC"]));
        client.write(&bytes);
        for _ in 0..queued + 1 {
            client.recv();
        }
        assert_eq!(client.recv().items().len(), queued);
        let (here, there) = if random.below(2) == 0 {
            ("0", "1")
        } else {
            ("1", "0")
        };
        let coin = random.below(COINS).to_string();
        client.cmd(&[
            "SMOVE",
            &format!("set:{here}"),
            &format!("set:{there}"),
            &coin,
        ]);
        let lists = [format!("list:{here}"), format!("list:{there}")];
        client.cmd(&["LMOVE", &lists[0], &lists[1], "LEFT", "RIGHT"]);
        move_keys(client, random);
        moves.fetch_add(1, Relaxed);
    }
}

/// Renames, moves, swaps and empties.
fn move_keys(client: &mut Client, random: &mut Random) {
    let mut name = |prefix: &str, count: u64| format!("{prefix}:{}", random.below(count));
    let (from, to) = (name("purse", NAMES), name("purse", NAMES));
    // Most are not there, and some names are taken.
    client.cmd(&["RENAMENX", &from, &to]);
    let token = name("token", TOKENS);
    if client.cmd(&["MOVE", &token, "1"]) == 0 {
        let mut bytes = encode(&["SELECT", "1"]);
        bytes.extend(encode(&["MOVE", &token, "0"]));
        bytes.extend(encode(&["SELECT", "0"]));
        client.write(&bytes);
        for _ in 0..3 {
            client.recv();
        }
    }
    if random.below(4) == 0 {
        assert_eq!(client.run("SWAPDB 2 3"), "OK");
    }
    if random.below(4) == 0 {
        let number = random.next().to_string();
        client.run("MULTI");
        client.run("SELECT 4");
        client.run(["FLUSHDB SYNC", "FLUSHDB ASYNC"][random.below(2) as usize]);
        for key in 0..10 {
            client.cmd(&["SET", &format!("{number}:{key}"), &number]);
        }
        client.run("SELECT 0");
        assert_eq!(client.run("EXEC").items().len(), 13);
    }
}

/// Has so many files of each way of saving checked while money is moved.
fn save_and_check(rounds: u64, seed: u64) {
    if oracle() {
        return;
    }
    let options = ["--appendonly", "yes", "--enable-debug-command", "yes"];
    let server = Server::with(&options);
    let mut client = server.client();
    for database in ["1", "0"] {
        client.cmd(&["SELECT", database]);
        for account in 0..ACCOUNTS {
            client.run(&format!("SET account:{account} {DEPOSIT}"));
        }
    }
    for account in 0..ACCOUNTS {
        client.run(&format!("HSET accounts account:{account} {DEPOSIT}"));
    }
    for coin in 0..COINS {
        client.run(&format!("SADD set:0 {coin}"));
        client.run(&format!("RPUSH list:0 {coin}"));
    }
    for (number, prefix) in [(PURSES, "purse"), (TOKENS as i64, "token")] {
        for key in 0..number {
            client.run(&format!("SET {prefix}:{key} {key}"));
        }
    }
    for (database, keys) in [("2", SWAPPED[0]), ("3", SWAPPED[1]), ("4", 10)] {
        client.cmd(&["SELECT", database]);
        for key in 0..keys {
            client.cmd(&["SET", &format!("key:{key}"), database]);
        }
    }
    client.run("SELECT 0");
    let mut reader = Reader::start();
    let (over, moves) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut wrong = None;
    std::thread::scope(|scope| {
        for mover in 0..MOVERS {
            let (mut client, over, moves) = (server.client(), &over, &moves);
            let mut random = Random::new(seed + mover);
            scope.spawn(move || keep_moving(&mut client, &mut random, over, moves));
        }
        let start = Instant::now();
        for round in 0..rounds {
            if start.elapsed() > ENOUGH {
                println!("{round} files checked, as time is over");
                break;
            }
            let way = WAYS[(round % 4) as usize];
            let saved = save(&mut client, way);
            let checked = saved.and_then(|()| reader.check(&server, way));
            if let Err(what) = checked {
                wrong = Some(format!("round {round}, {way:?}: {what}"));
                break;
            }
        }
        over.store(true, Relaxed);
    });
    assert_eq!(wrong, None, "seed {seed}");
    assert!(moves.into_inner() > 20, "hardly anything happened");
    assert_eq!(
        info(&mut client, "persistence")["rdb_last_bgsave_status"],
        "ok"
    );
}

fn save(client: &mut Client, way: Way) -> Result<(), String> {
    let gone = || "the server is gone".to_owned();
    let mut ask = |words: &[&str]| ask(client, words).ok_or_else(gone);
    let (reply, expected, field) = match way {
        Way::Save => (ask(&["SAVE"])?, "OK", None),
        Way::Background => (
            ask(&["BGSAVE"])?,
            "Background saving started",
            Some("rdb_bgsave_in_progress"),
        ),
        Way::RewriteAsRdb | Way::RewriteAsText => {
            let rdb = if way == Way::RewriteAsRdb {
                "yes"
            } else {
                "no"
            };
            ask(&["CONFIG", "SET", "aof-use-rdb-preamble", rdb])?;
            (
                ask(&["BGREWRITEAOF"])?,
                "Background append only file rewriting started",
                Some("aof_rewrite_in_progress"),
            )
        }
    };
    if reply != expected {
        return Err(reply);
    }
    field.map_or(Ok(()), |field| await_end(client, field).ok_or_else(gone))
}

#[test]
fn every_file_has_the_same_sum() {
    save_and_check(60, 1);
}

#[test]
#[ignore = "long: two thousand snapshots under transfers"]
fn every_file_has_the_same_sum_long() {
    let length = long(2000);
    save_and_check(length.rounds, length.seed);
}
