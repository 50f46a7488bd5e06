//! What the folder holds after each step, and what happens when a step fails.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const STEM: &[u8] = b"appendonly.aof";
const FOLDER: &str = "appendonlydir";
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

thread_local! {
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

const HOOKS: Hooks = Hooks {
    log: |severity, text| {
        if severity != Severity::Debug {
            LOG.with_borrow_mut(|log| log.push(text.to_string()));
        }
    },
    discard: drop,
};

/// A folder that goes away again.
struct Root(PathBuf);

impl Root {
    fn new() -> Root {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stdis-aof-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        LOG.take();
        Root(path)
    }

    fn files(&self) -> Files {
        Files::open(&self.0, FOLDER.as_bytes(), STEM, HOOKS).unwrap()
    }

    fn put(&self, name: &str, contents: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// All files, without their common prefix.
    fn list(&self) -> Vec<String> {
        let mut all = Vec::new();
        for folder in ["", FOLDER] {
            for entry in fs::read_dir(self.0.join(folder)).into_iter().flatten() {
                let entry = entry.unwrap();
                if entry.path().is_file() {
                    let name = entry.file_name().into_string().unwrap();
                    all.push(match (folder, name.strip_prefix("appendonly.aof.")) {
                        ("", _) => format!("/{name}"),
                        (_, Some(rest)) => rest.to_string(),
                        (_, None) => name,
                    });
                }
            }
        }
        all.sort();
        all
    }

    #[track_caller]
    fn holds(&self, names: &[&str], manifest: &[&str]) {
        assert_eq!(self.list(), names);
        let text = self.text(MANIFEST);
        let lines = text.lines().map(|line| {
            let line = line.strip_prefix("file ").unwrap();
            line.strip_prefix("appendonly.aof.").unwrap_or(line)
        });
        assert_eq!(lines.collect::<Vec<_>>(), manifest);
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn log() -> Vec<String> {
    LOG.take()
}

fn start(files: &mut Files) -> Opened {
    files
        .open_at_start(true, |file| file.write_all(b"REDIS"))
        .unwrap()
}

fn rewrite(files: &mut Files, state: State) -> Option<File> {
    let increment = files.begin_rewrite(state).unwrap();
    let temp = files.temp_base();
    write_file(&temp, |file| file.write_all(b"base")).unwrap();
    assert_eq!(files.finish_rewrite(&temp, state, true, false), Ok(4));
    increment
}

#[test]
fn first_start() {
    let root = Root::new();
    let mut files = root.files();
    assert_eq!(files.plan(), Ok(Plan::Nothing));
    assert_eq!(root.list(), [""; 0]);
    let opened = start(&mut files);
    assert_eq!(opened.size, 0);
    root.holds(
        &["1.base.rdb", "1.incr.aof", "manifest"],
        &["1.base.rdb seq 1 type b", "1.incr.aof seq 1 type i"],
    );
    assert_eq!(
        root.text("appendonlydir/appendonly.aof.1.base.rdb"),
        "REDIS"
    );
    assert_eq!(
        log(),
        [
            "Creating AOF base file appendonly.aof.1.base.rdb on server start",
            "Creating AOF incr file appendonly.aof.1.incr.aof on server start"
        ]
    );
}

#[test]
fn second_start() {
    let root = Root::new();
    let mut opened = start(&mut root.files());
    opened.file.write_all(b"one").unwrap();
    log();
    let mut files = root.files();
    let Ok(Plan::Load { parts, total }) = files.plan() else {
        panic!("nothing to load");
    };
    assert_eq!(total, 8);
    assert!(parts[0].base && !parts[0].last && !parts[1].base && parts[1].last);
    let mut opened = start(&mut files);
    assert_eq!(opened.size, 3);
    opened.file.write_all(b"two").unwrap();
    assert_eq!(
        root.text("appendonlydir/appendonly.aof.1.incr.aof"),
        "onetwo"
    );
    let opening = "Opening AOF incr file appendonly.aof.1.incr.aof on server start";
    assert_eq!(log(), [opening]);
}

#[test]
fn a_rewrite() {
    let root = Root::new();
    let mut files = root.files();
    start(&mut files);
    log();
    let mut increment = files.begin_rewrite(State::On).unwrap().unwrap();
    increment.write_all(b"new").unwrap();
    root.holds(
        &["1.base.rdb", "1.incr.aof", "2.incr.aof", "manifest"],
        &[
            "1.base.rdb seq 1 type b",
            "1.incr.aof seq 1 type i",
            "2.incr.aof seq 2 type i",
        ],
    );
    let temp = files.temp_base();
    write_file(&temp, |file| file.write_all(b"base")).unwrap();
    let size = files.finish_rewrite(&temp, State::On, false, false);
    assert_eq!(size, Ok(4));
    root.holds(
        &["2.base.aof", "2.incr.aof", "manifest"],
        &["2.base.aof seq 2 type b", "2.incr.aof seq 2 type i"],
    );
    increment.write_all(b"er").unwrap();
    assert_eq!(
        root.text("appendonlydir/appendonly.aof.2.incr.aof"),
        "newer"
    );
    let temp = temp.file_name().unwrap().to_str().unwrap().to_string();
    assert_eq!(
        log(),
        [
            "Creating AOF incr file appendonly.aof.2.incr.aof on background rewrite".to_string(),
            "Background AOF rewrite terminated with success".into(),
            format!(
                "Successfully renamed the temporary AOF base file {temp} into \
                 appendonly.aof.2.base.aof"
            ),
            "Removing the history file appendonly.aof.1.incr.aof in the background".into(),
            "Removing the history file appendonly.aof.1.base.rdb in the background".into(),
            "Background AOF rewrite finished successfully".into(),
        ]
    );
}

#[test]
fn failed_rewrites_leave_increments() {
    let root = Root::new();
    let mut files = root.files();
    start(&mut files);
    for _ in 0..2 {
        files.begin_rewrite(State::On).unwrap();
        let temp = files.temp_base();
        write_file(&temp, |file| file.write_all(b"ba")).unwrap();
        files.abandon_rewrite(&temp, State::On);
    }
    let lines = [
        "1.base.rdb seq 1 type b",
        "1.incr.aof seq 1 type i",
        "2.incr.aof seq 2 type i",
        "3.incr.aof seq 3 type i",
    ];
    let names = [
        "1.base.rdb",
        "1.incr.aof",
        "2.incr.aof",
        "3.incr.aof",
        "manifest",
    ];
    root.holds(&names, &lines);
    rewrite(&mut files, State::On);
    root.holds(
        &["2.base.rdb", "4.incr.aof", "manifest"],
        &["2.base.rdb seq 2 type b", "4.incr.aof seq 4 type i"],
    );
}

#[test]
fn switched_off_and_on() {
    let root = Root::new();
    let mut files = root.files();
    start(&mut files);
    assert!(rewrite(&mut files, State::Off).is_none());
    root.holds(&["2.base.rdb", "manifest"], &["2.base.rdb seq 2 type b"]);

    log();
    let mut increment = files.begin_rewrite(State::Waiting).unwrap().unwrap();
    increment.write_all(b"x").unwrap();
    root.holds(
        &["2.base.rdb", "manifest", "temp-appendonly.aof.incr"],
        &["2.base.rdb seq 2 type b"],
    );
    files.abandon_rewrite(&files.temp_base(), State::Waiting);
    root.holds(&["2.base.rdb", "manifest"], &["2.base.rdb seq 2 type b"]);
    assert_eq!(
        log()[1],
        "Removing the temp incr aof file temp-appendonly.aof.incr in the background"
    );
    let mut increment = rewrite(&mut files, State::Waiting).unwrap();
    increment.write_all(b"y").unwrap();
    // The number goes on in one run, and starts again where the manifest of a later run names none.
    root.holds(
        &["2.incr.aof", "3.base.rdb", "manifest"],
        &["3.base.rdb seq 3 type b", "2.incr.aof seq 2 type i"],
    );
    assert_eq!(root.text("appendonlydir/appendonly.aof.2.incr.aof"), "y");
    rewrite(&mut files, State::Off);
    rewrite(&mut root.files(), State::Waiting);
    root.holds(
        &["1.incr.aof", "5.base.rdb", "manifest"],
        &["5.base.rdb seq 5 type b", "1.incr.aof seq 1 type i"],
    );
}

#[test]
fn switched_on_for_the_first_time() {
    let root = Root::new();
    let mut files = root.files();
    let temp = files.temp_base();
    files.begin_rewrite(State::Waiting).unwrap();
    assert_eq!(root.list(), ["temp-appendonly.aof.incr"]);
    write_file(&temp, |_| Ok(())).unwrap();
    files
        .finish_rewrite(&temp, State::Waiting, true, false)
        .unwrap();
    root.holds(
        &["1.base.rdb", "1.incr.aof", "manifest"],
        &["1.base.rdb seq 1 type b", "1.incr.aof seq 1 type i"],
    );
}

#[test]
fn history_is_kept_on_demand() {
    let root = Root::new();
    let mut files = root.files();
    start(&mut files);
    for _ in 0..2 {
        files.begin_rewrite(State::On).unwrap();
        let temp = files.temp_base();
        write_file(&temp, |_| Ok(())).unwrap();
        files.finish_rewrite(&temp, State::On, true, true).unwrap();
    }
    let lines = [
        "3.base.rdb seq 3 type b",
        "2.incr.aof seq 2 type h",
        "2.base.rdb seq 2 type h",
        "1.incr.aof seq 1 type h",
        "1.base.rdb seq 1 type h",
        "3.incr.aof seq 3 type i",
    ];
    assert_eq!(root.list().len(), 7);
    assert_eq!(root.text(MANIFEST).lines().count(), lines.len());
    let mut files = root.files();
    assert!(matches!(files.plan(), Ok(Plan::Load { parts, .. }) if parts.len() == 2));
    files.delete_history().unwrap();
    root.holds(
        &["3.base.rdb", "3.incr.aof", "manifest"],
        &["3.base.rdb seq 3 type b", "3.incr.aof seq 3 type i"],
    );
}

#[test]
fn manifests_of_others() {
    let root = Root::new();
    root.put(MANIFEST, "file foo seq 7 type i\n");
    root.put("appendonlydir/foo", "x");
    let mut files = root.files();
    start(&mut files);
    root.holds(&["foo", "manifest"], &["foo seq 7 type i"]);
    rewrite(&mut files, State::On);
    root.holds(
        &["1.base.rdb", "8.incr.aof", "manifest"],
        &["1.base.rdb seq 1 type b", "8.incr.aof seq 8 type i"],
    );

    let root = Root::new();
    root.put(
        MANIFEST,
        "# note\nfile foo seq 4 type b\nfile old seq 3 type h\nfile gone seq 2 type h\n",
    );
    root.put("appendonlydir/foo", "x");
    root.put("appendonlydir/old", "x");
    let mut files = root.files();
    start(&mut files);
    files.delete_history().unwrap();
    root.holds(
        &["1.incr.aof", "foo", "manifest"],
        &["foo seq 4 type b", "1.incr.aof seq 1 type i"],
    );
}

#[test]
fn missing_files() {
    let root = Root::new();
    root.put(MANIFEST, "file a seq 1 type b\nfile b seq 1 type i\n");
    root.put("appendonlydir/a", "x");
    assert_eq!(root.files().plan(), Err(Failed));
    let text = "Unable to obtain the AOF file b length. stat: No such file or directory";
    assert_eq!(log(), [text]);
}

#[test]
fn bad_manifests() {
    let root = Root::new();
    root.put(MANIFEST, "");
    assert!(Files::open(&root.0, FOLDER.as_bytes(), STEM, HOOKS).is_err());
    assert_eq!(log()[1], "Found an empty AOF manifest\n");
    root.put(MANIFEST, "file a seq 1 type x\n");
    assert!(Files::open(&root.0, FOLDER.as_bytes(), STEM, HOOKS).is_err());
    assert_eq!(log().len(), 4);
}

#[test]
fn things_in_the_way() {
    let root = Root::new();
    root.put(FOLDER, "");
    assert!(root.files().open_at_start(true, |_| Ok(())).is_err());
    let text = "Can't open or create append-only dir appendonlydir: Not a directory";
    assert_eq!(log(), [text]);

    let root = Root::new();
    fs::create_dir_all(root.0.join(MANIFEST)).unwrap();
    let mut files = root.files();
    assert!(files.open_at_start(true, |_| Ok(())).is_err());
    assert_eq!(
        log().last().unwrap(),
        "Error trying to rename the temporary AOF manifest file \
         temp-appendonly.aof.manifest into appendonly.aof.manifest: Is a directory"
    );
    assert!(files.manifest().is_empty());
    // Files that the lost manifest would have named are overwritten by the next try.
    fs::remove_dir(root.0.join(MANIFEST)).unwrap();
    start(&mut files);
    assert_eq!(
        root.text("appendonlydir/appendonly.aof.1.base.rdb"),
        "REDIS"
    );
}

#[test]
fn a_rewrite_that_cannot_be_installed() {
    let root = Root::new();
    let mut files = root.files();
    start(&mut files);
    let before = root.list();
    let (text, temp) = (root.text(MANIFEST), files.temp_base());
    // No base was written.
    assert!(files.finish_rewrite(&temp, State::On, true, false).is_err());
    assert_eq!(
        (root.list(), root.text(MANIFEST)),
        (before.clone(), text.clone())
    );
    // The manifest cannot be written.
    fs::create_dir(root.0.join("appendonlydir/temp-appendonly.aof.manifest")).unwrap();
    write_file(&temp, |_| Ok(())).unwrap();
    assert!(files.finish_rewrite(&temp, State::On, true, false).is_err());
    assert_eq!((root.list(), root.text(MANIFEST)), (before.clone(), text));
    assert!(files.begin_rewrite(State::On).is_err());
    assert_eq!(files.manifest().increments().len(), 1);
    fs::remove_dir(root.0.join("appendonlydir/temp-appendonly.aof.manifest")).unwrap();
    // The temporary increment is gone.
    files.begin_rewrite(State::Waiting).unwrap();
    fs::remove_file(files.path(b"temp-appendonly.aof.incr")).unwrap();
    write_file(&temp, |_| Ok(())).unwrap();
    assert!(
        files
            .finish_rewrite(&temp, State::Waiting, true, false)
            .is_err()
    );
    assert_eq!(
        root.list(),
        [&before[..2], &["2.incr.aof".into(), "manifest".into()]].concat()
    );
}

#[test]
fn leftovers_stay_and_do_no_harm() {
    let root = Root::new();
    root.put("appendonlydir/temp-appendonly.aof.incr", "junk");
    root.put("appendonlydir/temp-appendonly.aof.manifest", "junk");
    root.put("appendonlydir/junk", "junk");
    let mut files = root.files();
    start(&mut files);
    root.holds(
        &[
            "1.base.rdb",
            "1.incr.aof",
            "junk",
            "manifest",
            "temp-appendonly.aof.incr",
        ],
        &["1.base.rdb seq 1 type b", "1.incr.aof seq 1 type i"],
    );
    rewrite(&mut files, State::Off);
    rewrite(&mut files, State::Waiting);
    assert_eq!(root.text("appendonlydir/appendonly.aof.2.incr.aof"), "");
}

#[test]
fn upgrade() {
    let root = Root::new();
    root.put("appendonly.aof", "old");
    let mut files = root.files();
    let Ok(Plan::Load { parts, total: 3 }) = files.plan() else {
        panic!("not taken up");
    };
    assert!(parts[0].base && parts[0].last && files.is_old_style(&parts[0]));
    root.holds(
        &["appendonly.aof", "manifest"],
        &["appendonly.aof seq 1 type b"],
    );
    assert_eq!(
        log(),
        [
            "Successfully migrated an old-style AOF file (appendonly.aof) into the AOF directory \
             (appendonlydir)."
        ]
    );
    start(&mut files);
    rewrite(&mut files, State::On);
    root.holds(
        &["2.base.rdb", "2.incr.aof", "manifest"],
        &["2.base.rdb seq 2 type b", "2.incr.aof seq 2 type i"],
    );
}

#[test]
fn upgrades_that_were_interrupted() {
    for manifest in [
        "file appendonly.aof seq 1 type b\n",
        "file appendonly.aof seq 5 type b\n",
        "file old seq 1 type h\n",
    ] {
        let root = Root::new();
        root.put("appendonly.aof", "old");
        root.put(MANIFEST, manifest);
        assert!(matches!(
            root.files().plan(),
            Ok(Plan::Load { total: 3, .. })
        ));
        assert_eq!(root.text("appendonlydir/appendonly.aof"), "old");
        assert!(
            root.text(MANIFEST)
                .starts_with("file appendonly.aof seq 1 type b\n")
        );
    }
    // Done already: the file in the root is another one.
    let root = Root::new();
    root.put("appendonly.aof", "other");
    root.put("appendonlydir/appendonly.aof", "old");
    root.put(MANIFEST, "file appendonly.aof seq 1 type b\n");
    assert!(matches!(
        root.files().plan(),
        Ok(Plan::Load { total: 3, .. })
    ));
    assert_eq!(root.text("appendonly.aof"), "other");
    // Which of two is meant, nobody knows.
    fs::remove_file(root.0.join(MANIFEST)).unwrap();
    assert_eq!(root.files().plan(), Err(Failed));
    assert_eq!(root.text("appendonlydir/appendonly.aof"), "old");
}

#[test]
fn truncation() {
    let root = Root::new();
    root.put(MANIFEST, "file a seq 1 type i\n");
    root.put("appendonlydir/a", "0123456789");
    let mut files = root.files();
    let Ok(Plan::Load { parts, .. }) = files.plan() else {
        panic!("nothing to load");
    };
    files.truncate(&parts[0], 4).unwrap();
    assert_eq!(root.text("appendonlydir/a"), "0123");
    assert_eq!(
        log(),
        [
            "!!! Warning: short read while loading the AOF file a!!!",
            "!!! Truncating the AOF a at offset 4 !!!",
            "AOF a loaded anyway because aof-load-truncated is enabled"
        ]
    );
    let opened = start(&mut files);
    assert_eq!(opened.size, 4);
    fs::remove_file(root.0.join("appendonlydir/a")).unwrap();
    assert!(files.open_part(&parts[0]).is_err());
    assert_eq!(
        log().last().unwrap(),
        "The append log file a doesn't exist: No such file or directory"
    );
}
