//! Tests of the configuration: each kind's errors, `CONFIG GET` and
//! `CONFIG SET`, config files, and the command line.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use super::file::load_with;
use super::table::PENDING;
use super::*;

const NO_APPLY: fn(OptId) -> Result<(), String> = |_| Ok(());

/// `CONFIG SET` by a local client, with nothing to apply.
fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<(), String> {
    set_and(config, pairs, &mut NO_APPLY.clone())
}

fn set_and(
    config: &Config,
    pairs: &[(&str, &str)],
    apply: &mut dyn FnMut(OptId) -> Result<(), String>,
) -> Result<(), String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    config
        .set(&pairs, Caller::default(), apply)
        .map_err(|error| error.to_string())
}

/// The reason why one value is refused.
fn refusal(name: &str, value: &str) -> String {
    let error = set(&Config::new(), &[(name, value)]).expect_err("it was accepted");
    let start = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - ");
    let reason = error.strip_prefix(&start);
    reason.unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// What `CONFIG GET` shows of an option after it was set.
fn shown(name: &str, value: &str) -> String {
    let config = Config::new();
    set(&config, &[(name, value)]).expect("it was refused");
    show(&config, name)
}

fn show(config: &Config, name: &str) -> String {
    let rows = get(config, &[name]);
    assert_eq!(rows.len(), 1, "{name}");
    rows[0].1.clone()
}

fn get(config: &Config, patterns: &[&str]) -> Vec<(String, String)> {
    let patterns: Vec<&[u8]> = patterns.iter().map(|p| p.as_bytes()).collect();
    let text = |bytes| String::from_utf8(bytes).expect("no text");
    let rows = config.get(&patterns).into_iter();
    rows.map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn try_load(args: &[&str], stdin: &str) -> Result<Invocation, LoadError> {
    load_with(args.iter().map(OsString::from), &mut stdin.as_bytes())
}

fn load_all(args: &[&str], stdin: &str) -> Loaded {
    match try_load(args, stdin) {
        Ok(Invocation::Run(loaded)) => *loaded,
        other => panic!("{other:?}"),
    }
}

/// The fatal error, after the line that names program and version.
fn fatal(args: &[&str], stdin: &str) -> String {
    let text = try_load(args, stdin)
        .expect_err("it was accepted")
        .to_string();
    let (head, rest) = text.trim_start().split_once('\n').expect("one line only");
    assert!(
        head.starts_with("*** FATAL CONFIG FILE ERROR (stdis "),
        "{head}"
    );
    rest.to_owned()
}

/// A file of this test that is removed when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> TempFile {
        let path = std::env::temp_dir().join(format!("stdis-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("cannot write");
        TempFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("no text")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn ids_are_the_places_of_their_rows() {
    for (id, name) in [
        (id::BIND, "bind"),
        (id::PORT, "port"),
        (
            id::LATENCY_TRACKING_INFO_PERCENTILES,
            "latency-tracking-info-percentiles",
        ),
        (id::ACTIVEREHASHING, "activerehashing"),
        (id::PROPAGATION_ERROR_BEHAVIOR, "propagation-error-behavior"),
        (id::APPENDONLY, "appendonly"),
        (id::STREAM_NODE_MAX_ENTRIES, "stream-node-max-entries"),
        (id::REPLICAOF, "replicaof"),
        (id::MIN_REPLICAS_MAX_LAG, "min-replicas-max-lag"),
    ] {
        assert_eq!(id.name(), name);
    }
    assert!(id::BUSY_REPLY_THRESHOLD.row().has(PENDING));
    assert!(!id::MAXMEMORY_SAMPLES.row().has(PENDING));
    assert!(!id::REPL_TIMEOUT.row().has(PENDING));
    assert!(!id::APPENDONLY.row().has(PENDING));
    assert!(!id::PORT.row().has(PENDING));
}

#[test]
fn every_name_is_there_once_in_lower_case() {
    let mut all: Vec<&str> = names().map(|(name, _)| name).collect();
    assert!(
        all.iter()
            .all(|name| !name.bytes().any(|c| c.is_ascii_uppercase()))
    );
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn every_value_can_be_set_to_what_is_shown() {
    let config = Config::new();
    let before = get(&config, &["*"]);
    for (name, value) in &before {
        let row = find(name.as_bytes()).expect("unknown").row();
        if !row.has(IMMUTABLE) && !row.has(PROTECTED) {
            set(&config, &[(name, value)]).expect(name);
        }
    }
    assert_eq!(get(&config, &["*"]), before);
    assert!(config.pending_changed().is_empty());
}

#[test]
fn defaults_read_as_typed_values() {
    let config = Config::new();
    assert_eq!(config.int(id::PORT), 6379);
    assert!(config.bool(id::PROTECTED_MODE));
    assert_eq!(config.memory(id::PROTO_MAX_BULK_LEN), 512 << 20);
    assert_eq!(config.name(id::MAXMEMORY_POLICY), "noeviction");
    assert_eq!(*config.str(id::REQUIREPASS), *b"");
    assert_eq!(*config.words(id::BIND), [b"*".to_vec(), b"-::*".to_vec()]);
    assert_eq!(*config.percentiles(), [50.0, 99.0, 99.9]);
    let points = config.save_points();
    let points: Vec<_> = points.iter().map(|p| (p.seconds, p.changes)).collect();
    assert_eq!(points, [(3600, 1), (300, 100), (60, 10000)]);
}

#[test]
fn booleans_and_numbers() {
    assert_eq!(shown("protected-mode", "NO"), "no");
    assert_eq!(
        refusal("protected-mode", "1"),
        "argument must be 'yes' or 'no'"
    );
    assert_eq!(
        refusal("timeout", "1x"),
        "argument couldn't be parsed into an integer"
    );
    assert_eq!(
        refusal("timeout", ""),
        "argument couldn't be parsed into an integer"
    );
    let range = "argument must be between 1 and 4294967295 inclusive";
    assert_eq!(refusal("maxclients", "0"), range);
    assert_eq!(refusal("maxclients", "-1"), range);
    assert_eq!(refusal("maxclients", "4294967296"), range);
    assert_eq!(shown("maxclients", "4294967295"), "4294967295");
    assert_eq!(shown("hz", "0"), "1");
    assert_eq!(shown("hz", "100000"), "500");
    assert_eq!(
        refusal("hz", "-1"),
        "argument must be between 0 and 2147483647 inclusive"
    );
}

#[test]
fn sizes() {
    assert_eq!(shown("maxmemory", "1Gb"), "1073741824");
    assert_eq!(shown("maxmemory", "2k"), "2000");
    assert_eq!(
        shown("maxmemory", "18446744073709551615"),
        "18446744073709551615"
    );
    assert_eq!(
        refusal("maxmemory", "1zb"),
        "argument must be a memory value"
    );
    assert_eq!(
        refusal("maxmemory", "-1"),
        "argument must be a memory value"
    );
    let range = "argument must be between 1048576 and 9223372036854775807 inclusive";
    assert_eq!(refusal("proto-max-bulk-len", "1"), range);
    assert_eq!(refusal("proto-max-bulk-len", "18446744073709551615"), range);
    assert_eq!(shown("maxmemory-clients", "5%"), "5%");
    assert_eq!(shown("maxmemory-clients", "100mb"), "104857600");
    assert_eq!(
        refusal("maxmemory-clients", "101%"),
        "percentage argument must be less or equal to 100"
    );
    assert_eq!(
        refusal("maxmemory-clients", "%"),
        "argument must be a memory or percent value"
    );
}

#[test]
fn names_and_flags() {
    assert_eq!(shown("maxmemory-policy", "ALLKEYS-lfu"), "allkeys-lfu");
    assert_eq!(
        refusal("loglevel", "loud"),
        "argument(s) must be one of the following: debug, verbose, notice, warning, nothing"
    );
    assert_eq!(
        shown("shutdown-on-sigterm", "force now save"),
        "save now force"
    );
    assert_eq!(
        refusal("shutdown-on-sigterm", "save nosave"),
        "shutdown options SAVE and NOSAVE can't be used simultaneously"
    );
    assert_eq!(
        refusal("shutdown-on-sigterm", ""),
        "argument(s) must be one of the following: default, save, nosave, now, force"
    );
    assert_eq!(shown("notify-keyspace-events", "nmAKE"), "AKEm");
    assert_eq!(shown("notify-keyspace-events", "Elg$n"), "g$lnE");
    assert_eq!(
        refusal("notify-keyspace-events", "KQ"),
        "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
    );
}

#[test]
fn options_that_cannot_be_turned_on() {
    assert_eq!(shown("activedefrag", "no"), "no");
    assert!(refusal("activedefrag", "yes").starts_with("Active defragmentation cannot"));
    assert_eq!(
        refusal("activedefrag", "x"),
        "argument must be 'yes' or 'no'"
    );
}

#[test]
fn checked_texts() {
    let invalid = "template format is invalid or contains unknown variables";
    assert_eq!(refusal("proc-title-template", "{x}"), invalid);
    assert_eq!(refusal("proc-title-template", "{title"), invalid);
    assert_eq!(refusal("proc-title-template", ""), invalid);
    assert_eq!(shown("proc-title-template", "a {{ {port}"), "a {{ {port}");
    assert_eq!(
        refusal("cluster-announce-hostname", "a_b"),
        "Hostnames may only contain alphanumeric characters, hyphens or dots"
    );
}

#[test]
fn save_points() {
    assert_eq!(shown("save", "10 1 20 2"), "10 1 20 2");
    assert_eq!(shown("save", ""), "");
    for bad in ["1", "1 x", "0 1", "1 -1", "1  2"] {
        assert_eq!(refusal("save", bad), "Invalid save parameters", "{bad}");
    }
}

#[test]
fn output_limits() {
    let config = Config::new();
    let limits = "replica 1mb 2 5 PUBSUB 0 0 0";
    set(&config, &[("client-output-buffer-limit", limits)]).expect("refused");
    assert_eq!(
        show(&config, "client-output-buffer-limit"),
        "normal 0 0 0 slave 1048576 2 5 pubsub 0 0 0"
    );
    let replica = OutputLimit {
        hard: 1 << 20,
        soft: 2,
        soft_seconds: 5,
    };
    assert_eq!(config.output_limit(OutputClass::Replica), replica);
    assert_eq!(
        refusal("client-output-buffer-limit", "normal 1 2"),
        "Wrong number of arguments in buffer limit configuration."
    );
    assert_eq!(
        refusal("client-output-buffer-limit", "master 1 2 3"),
        "Invalid client class specified in buffer limit configuration."
    );
    for bad in ["normal 1 2 x", "normal -1 2 3", "normal 1 2 -3"] {
        assert_eq!(
            refusal("client-output-buffer-limit", bad),
            "Error in hard, soft or soft_seconds setting in buffer limit configuration."
        );
    }
}

#[test]
fn lists_of_numbers_and_addresses() {
    let percentiles = "latency-tracking-info-percentiles";
    assert_eq!(shown(percentiles, "50 99.90 0.0"), "50 99.9 0");
    assert_eq!(shown(percentiles, ""), "");
    assert_eq!(
        refusal(percentiles, "1 101"),
        "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
    );
    for bad in ["nan", "1  2", "x"] {
        assert_eq!(
            refusal(percentiles, bad),
            "Invalid latency-tracking-info-percentiles parameters"
        );
    }
    assert_eq!(shown("oom-score-adj-values", "-1 2 3"), "-1 2 3");
    assert_eq!(
        refusal("oom-score-adj-values", "1 2"),
        "wrong number of arguments"
    );
    assert_eq!(
        refusal("oom-score-adj-values", "1 2 2001"),
        "Invalid oom-score-adj-values, elements must be between -2000 and 2000."
    );
    assert_eq!(shown("bind", "127.0.0.1 -::1"), "127.0.0.1 -::1");
    assert_eq!(shown("bind", ""), "");
    assert_eq!(
        refusal("bind", &["::1"; 17].join(" ")),
        "Too many bind addresses specified."
    );
}

#[test]
fn set_changes_all_or_nothing() {
    let config = Config::new();
    set(&config, &[("hz", "20"), ("timeout", "5")]).expect("refused");
    let error = set(
        &config,
        &[
            ("hz", "30"),
            ("save", "1 1"),
            ("client-output-buffer-limit", "normal 1 1 1"),
            ("timeout", "x"),
        ],
    );
    let reason = "ERR CONFIG SET failed (possibly related to argument 'timeout') \
                  - argument couldn't be parsed into an integer";
    assert_eq!(error, Err(reason.to_owned()));
    assert_eq!(config.int(id::HZ), 20);
    assert_eq!(show(&config, "save"), "3600 1 300 100 60 10000");
    assert_eq!(config.output_limit(OutputClass::Normal).hard, 0);
}

#[test]
fn set_refuses_names_before_values() {
    let config = Config::new();
    let unknown = "ERR Unknown option or number of arguments for CONFIG SET - 'bogus'";
    assert_eq!(
        set(&config, &[("hz", "x"), ("bogus", "1")]),
        Err(unknown.to_owned())
    );
    let related = |name, reason| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
    };
    assert_eq!(
        set(&config, &[("Databases", "3"), ("bogus", "1")]),
        Err(related("Databases", "can't set immutable config"))
    );
    assert_eq!(
        set(&config, &[("maxmemory", "1"), ("MAXMEMORY", "2")]),
        Err(related("MAXMEMORY", "duplicate parameter"))
    );
    assert_eq!(
        set(&config, &[("dir", ".")]),
        Err(related("dir", "can't set protected config"))
    );
    // Redis names an option whose value it refuses as the table does.
    assert_eq!(
        set(&config, &[("SLAVE-priority", "x")]),
        Err(related(
            "slave-priority",
            "argument couldn't be parsed into an integer"
        ))
    );
}

#[test]
fn protected_options_and_loading() {
    let config = load_all(&["--enable-protected-configs", "local"], "").config;
    let try_dir = |dir: &[u8], caller| {
        let result = config.set(&[(b"dir", dir)], caller, &mut NO_APPLY.clone());
        result.map_err(|error| error.to_string())
    };
    let mut caller = Caller::default();
    let related = "ERR CONFIG SET failed (possibly related to argument 'dir') - ";
    assert_eq!(
        try_dir(b".", caller),
        Err(format!("{related}can't set protected config"))
    );
    caller.local = true;
    assert_eq!(try_dir(b".", caller), Ok(()));
    assert_eq!(
        try_dir(b"/no/such/place", caller),
        Err(format!("{related}No such file or directory"))
    );
    caller.loading = true;
    assert_eq!(
        try_dir(b".", caller),
        Err("LOADING Redis is loading the dataset in memory".to_owned())
    );
}

#[test]
fn set_applies_what_changed() {
    let config = Config::new();
    let mut applied = Vec::new();
    let pairs = [("hz", "20"), ("timeout", "0"), ("port", "7000")];
    set_and(&config, &pairs, &mut |id| {
        applied.push((id, config.int(id), config.int(id::PORT)));
        Ok(())
    })
    .expect("refused");
    assert_eq!(applied, [(id::HZ, 20, 7000), (id::PORT, 7000, 7000)]);
}

#[test]
fn a_failed_apply_puts_everything_back() {
    let config = Config::new();
    let mut applied = Vec::new();
    let pairs = [("hz", "20"), ("port", "7000"), ("timeout", "9")];
    let result = set_and(&config, &pairs, &mut |id| {
        applied.push((id, config.int(id)));
        match config.int(id) {
            7000 => Err("Unable to listen on this port. Check server logs.".to_owned()),
            _ => Ok(()),
        }
    });
    let reason = "ERR CONFIG SET failed (possibly related to argument 'port') \
                  - Unable to listen on this port. Check server logs.";
    assert_eq!(result, Err(reason.to_owned()));
    let calls = [
        (id::HZ, 20),
        (id::PORT, 7000),
        (id::HZ, 10),
        (id::PORT, 6379),
    ];
    assert_eq!(applied, calls);
    assert_eq!(config.int(id::TIMEOUT), 0);
}

#[test]
fn get_matches_patterns_and_aliases() {
    let config = Config::new();
    let row = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(get(&config, &["PORT"]), [row("PORT", "6379")]);
    assert_eq!(
        get(&config, &["MaxMemory", "maxmemory", "maxmem*y"]),
        [
            row("MaxMemory", "0"),
            row("maxmemory-policy", "noeviction"),
            row("maxmemory-eviction-tenacity", "10")
        ]
    );
    set(&config, &[("slave-priority", "7")]).expect("refused");
    assert_eq!(
        get(&config, &["*-priority"]),
        [row("replica-priority", "7"), row("slave-priority", "7")]
    );
    assert_eq!(get(&config, &["slave-priority"]).len(), 1);
    assert_eq!(get(&config, &["watchdog*", "nothing", "no*such"]), []);
    assert_eq!(get(&config, &["watchdog-period"]).len(), 1);
}

#[test]
fn values_may_be_any_bytes() {
    let config = Config::new();
    let pairs: [(&[u8], &[u8]); 1] = [(b"requirepass", b"\xff\x00 x")];
    let result = config.set(&pairs, Caller::default(), &mut NO_APPLY.clone());
    assert_eq!(result, Ok(()));
    assert_eq!(*config.str(id::REQUIREPASS), *b"\xff\x00 x");
    let unknown = config.set(&[(b"\xfe", b"")], Caller::default(), &mut NO_APPLY.clone());
    let error = unknown.expect_err("accepted");
    assert!(error.as_bytes().ends_with(b"- '\xfe'"));
}

#[test]
fn a_config_file_is_read() {
    let text = "# comment\r\n\n  port 7000  \nREQUIREPASS \"a b\\x41\"\nlogfile ''\n\
                bind 127.0.0.1 ::1\nbusy-reply-threshold 9\nclient-output-buffer-limit normal 1 2 3\n\
                client-output-buffer-limit replica 4 5 6\nlua-replicate-commands yes\n\
                rename-command CONFIG \"\"\nrename-command get fetch";
    let file = TempFile::new("whole.conf", text);
    let loaded = load_all(&[file.path(), "--port", "7001"], "");
    let config = &loaded.config;
    assert_eq!(config.int(id::PORT), 7001);
    assert_eq!(*config.str(id::REQUIREPASS), *b"a bA");
    assert_eq!(show(config, "bind"), "127.0.0.1 ::1");
    assert_eq!(
        show(config, "client-output-buffer-limit"),
        "normal 1 2 3 slave 4 5 6 pubsub 33554432 8388608 60"
    );
    assert_eq!(config.pending_changed(), ["busy-reply-threshold"]);
    assert_eq!(loaded.file.as_deref(), Some(file.0.as_path()));
    let renames: Vec<_> = loaded.renames.iter().map(|r| (&*r.from, &*r.to)).collect();
    let expected: [(&[u8], &[u8]); 2] = [(b"CONFIG", b""), (b"get", b"fetch")];
    assert_eq!(renames, expected);
    assert!(
        loaded.renames[1]
            .refuse("Target command name already exists")
            .to_string()
            .ends_with(
                "at line 12\n>>> 'rename-command get fetch'\nTarget command name already exists"
            )
    );
}

#[test]
fn save_lines_accumulate() {
    let save = |text: &str, args: &[&str]| {
        let args = [&["-"], args].concat();
        show(&load_all(&args, text).config, "save")
    };
    assert_eq!(save("", &[]), "3600 1 300 100 60 10000");
    assert_eq!(save("save 1 2", &[]), "1 2");
    assert_eq!(save("save 1 2\nsave 3 4 5 6", &[]), "1 2 3 4 5 6");
    assert_eq!(save("save 1 2\nsave \"\"\nsave 3 4", &[]), "3 4");
    assert_eq!(save("save 1 2", &["--save", "3", "4"]), "1 2 3 4");
    assert_eq!(save("save 1 2", &["--save", "3 4"]), "1 2 3 4");
    assert_eq!(save("save 1 2", &["--save", ""]), "");
    assert_eq!(save("save 1 2", &["--save", "''"]), "");
    assert_eq!(save("save 1 2", &["--save"]), "");
    assert_eq!(save("save 1 2", &["--save", "--port", "1"]), "");
    assert_eq!(save("save 1 2", &["--save ''"]), "");
}

#[test]
fn the_command_line() {
    assert!(matches!(try_load(&["-v"], ""), Ok(Invocation::Version)));
    assert!(matches!(
        try_load(&["--version"], ""),
        Ok(Invocation::Version)
    ));
    assert!(matches!(try_load(&["-h", "x"], ""), Ok(Invocation::Help)));
    assert!(matches!(try_load(&["--help"], ""), Ok(Invocation::Help)));
    assert!(load_all(&[], "port x").file.is_none());

    let config = load_all(&["--port 7000", "--bind", "a", "b", "--hz", "5"], "").config;
    assert_eq!(config.int(id::PORT), 7000);
    assert_eq!(show(&config, "bind"), "a b");
    assert_eq!(config.int(id::HZ), 5);

    // The first value of a flag may look like a flag.
    let config = load_all(&["--requirepass", "--hz"], "").config;
    assert_eq!(*config.str(id::REQUIREPASS), *b"--hz");
    let config = load_all(&["--requirepass", "a \"b\"\n"], "").config;
    assert_eq!(*config.str(id::REQUIREPASS), *b"a \"b\"\n");

    // A lone dash reads standard input at either end, before the flags.
    let loaded = load_all(&["-", "--hz", "5"], "port 1\nhz 7");
    assert!(loaded.from_stdin);
    assert_eq!(loaded.config.int(id::PORT), 1);
    assert_eq!(loaded.config.int(id::HZ), 5);
    assert_eq!(
        load_all(&["--hz", "5", "-"], "port 2").config.int(id::PORT),
        2
    );
    assert_eq!(
        fatal(&["--hz", "-", "--port", "1"], ""),
        "Reading the configuration file, at line 2\n>>> 'hz \"-\"'\n\
         argument couldn't be parsed into an integer"
    );
}

#[test]
fn a_dash_after_the_file_is_standard_input_only_at_the_end() {
    let file = TempFile::new("dash.conf", "port 1");
    let loaded = load_all(&[file.path(), "-"], "\nhz 7\n");
    assert_eq!(loaded.config.int(id::PORT), 1);
    assert_eq!(loaded.config.int(id::HZ), 7);
    assert_eq!(
        fatal(&[file.path(), "-", "--hz", "7"], ""),
        "Reading the configuration file, at line 2\n>>> '\"-\"'\n\
         Bad directive or wrong number of arguments"
    );
}

#[test]
fn a_bad_line_is_named() {
    let line = |text: &str, reason: &str| {
        let number = text.split('\n').count();
        let last = text.split('\n').next_back().unwrap_or_default();
        format!("Reading the configuration file, at line {number}\n>>> '{last}'\n{reason}")
    };
    let bad = "Bad directive or wrong number of arguments";
    let count = "wrong number of arguments";
    for (text, reason) in [
        ("# c\nport 0\nFOO bar", bad),
        ("include", bad),
        ("rename-command a", bad),
        ("user", bad),
        ("port 1 2", count),
        ("port", count),
        ("port x", "argument couldn't be parsed into an integer"),
        ("save 1", "Invalid save parameters"),
        ("save \"1 2", "Unbalanced quotes in configuration line"),
        (
            "requirepass 'a'b",
            "Unbalanced quotes in configuration line",
        ),
        ("bind \"'a\"", "Unbalanced quotes in configuration line"),
        (
            "unixsocketperm 8",
            "argument couldn't be parsed as an octal number",
        ),
        (
            "unixsocketperm 1777",
            "argument must be between 0 and 777 inclusive",
        ),
        ("dir /no/such/place", "No such file or directory"),
        (
            "cluster-enabled yes",
            "this server does not support cluster mode",
        ),
    ] {
        assert_eq!(fatal(&["-"], text), line(text, reason));
    }
    assert_eq!(
        fatal(&["--port"], ""),
        format!("Reading the configuration file, at line 2\n>>> 'port'\n{count}")
    );
    assert_eq!(
        fatal(&["--logfile", "/no/such/place/log"], ""),
        "Can't open the log file: No such file or directory"
    );
    let missing = try_load(&["/no/such/file"], "").expect_err("accepted");
    assert_eq!(
        missing.to_string(),
        "Fatal error, can't open config file '/no/such/file': No such file or directory"
    );
}

#[test]
fn files_include_files() {
    let inner = TempFile::new("inner.conf", "hz 50\nport 7000\n");
    let text = format!("hz 5\ninclude {}\nport 7001", inner.path());
    let config = load_all(&["-"], &text).config;
    assert_eq!(config.int(id::HZ), 50);
    assert_eq!(config.int(id::PORT), 7001);

    let circle = TempFile::new("circle.conf", "");
    fs::write(&circle.0, format!("include {}", circle.path())).expect("cannot write");
    assert!(fatal(&[circle.path()], "").ends_with("include each other too deeply"));
}

#[test]
fn octal_permissions() {
    let config = load_all(&["--unixsocketperm", "0700"], "").config;
    assert_eq!(config.int(id::UNIXSOCKETPERM), 0o700);
    assert_eq!(show(&config, "unixsocketperm"), "700");
}

#[test]
fn help_lists_every_option() {
    let help = help_text();
    for row in TABLE {
        assert!(help.contains(row.name), "{}", row.name);
    }
    assert!(help.contains("--maxclients 10000"));
    assert!(stock_names().any(|name| name == "io-threads"));
}

#[test]
fn a_primary_is_host_and_port() {
    for (args, shown) in [
        (&["--replicaof", "localhost 6380"][..], "localhost 6380"),
        (&["--slaveof", "::1", "+07"], "::1 7"),
        (&["--replicaof", "NO", "one"], ""),
        (&["--replicaof", "a 1", "--replicaof", "no one"], ""),
    ] {
        let config = load_all(args, "").config;
        assert_eq!(show(&config, "replicaof"), shown);
        assert_eq!(get(&config, &["slaveof"]).len(), 1);
        config.note_primary(Some(("b", 2)));
        assert_eq!(show(&config, "replicaof"), "b 2");
        config.note_primary(None);
        assert_eq!(show(&config, "replicaof"), "");
    }
    for (args, reason) in [
        (&["--replicaof", "a"][..], "wrong number of arguments"),
        (&["--replicaof", "a", "b", "c"], "wrong number of arguments"),
        (&["--replicaof", "a", "65536"], "Invalid master port"),
        (&["--replicaof", "a -1"], "Invalid master port"),
        (&["--replicaof", "a 1x"], "Invalid master port"),
    ] {
        let error = fatal(args, "");
        assert!(error.ends_with(reason), "{error}");
    }
    let config = Config::new();
    let refused = set(&config, &[("replicaof", "a 1")]);
    assert!(refused.is_err_and(|text| text.ends_with("can't set immutable config")));
}
