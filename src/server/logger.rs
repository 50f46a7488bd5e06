//! The server's log: Redis' line format, to standard output or a file.
//!
//! `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL message`, in local time. A line is
//! built without a lock and leaves in one write, so lines of different threads
//! never mix. A log file is opened in append mode for each line, as Redis does:
//! it can be rotated or deleted at any time. The log never fails: a line that
//! cannot be written is lost.
//!
//! Use the macros `log_debug!`, `log_verbose!`, `log_notice!`, `log_warning!`;
//! their arguments are those of `format!`, evaluated only when the level is on.
//! Relies on [`crate::sys`] for the offset of the local time zone.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::syslog;
use crate::sys;

/// How much a line matters, and what the `loglevel` setting lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// For development.
    Debug = 0,
    /// Rarely of use.
    Verbose = 1,
    /// What an operator wants to see; Redis' default.
    Notice = 2,
    /// What an operator must see.
    Warning = 3,
    /// As a setting, lets nothing through. No line has this level.
    Nothing = 4,
}

impl Level {
    /// All levels, in ascending order: the values of `loglevel`.
    pub const ALL: [Level; 5] = [
        Level::Debug,
        Level::Verbose,
        Level::Notice,
        Level::Warning,
        Level::Nothing,
    ];

    /// The value of `loglevel` that names this level.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Verbose => "verbose",
            Level::Notice => "notice",
            Level::Warning => "warning",
            Level::Nothing => "nothing",
        }
    }

    /// The level of that name, in any case.
    pub fn parse(name: &str) -> Option<Level> {
        Level::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(name))
    }

    /// The character for the level in a line.
    fn mark(self) -> char {
        match self {
            Level::Debug => '.',
            Level::Verbose => '-',
            Level::Notice => '*',
            Level::Warning | Level::Nothing => '#',
        }
    }
}

/// The state of a log. There is one for the process, behind the functions below.
struct Logger {
    level: AtomicU8,
    role: AtomicU8,
    /// None is standard output. Locked only to clone or replace the pointer.
    file: RwLock<Option<Arc<Path>>>,
}

static LOGGER: Logger = Logger::new();

impl Logger {
    /// Notices and warnings, to standard output, in the role `C` that Redis
    /// shows until the server is set up.
    const fn new() -> Logger {
        Logger {
            level: AtomicU8::new(Level::Notice as u8),
            role: AtomicU8::new(b'C'),
            file: RwLock::new(None),
        }
    }

    fn enabled(&self, level: Level) -> bool {
        level != Level::Nothing && level as u8 >= self.level.load(Ordering::Relaxed)
    }

    fn set_file(&self, file: Option<PathBuf>) -> io::Result<()> {
        let file = file.filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = &file {
            append_to(path)?;
        }
        let file = file.map(Arc::from);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        if !self.enabled(level) {
            return;
        }
        let mut line = String::with_capacity(160);
        let role = char::from(self.role.load(Ordering::Relaxed));
        // Writing to a String fails only if a Display in the message does; the
        // line then ends there.
        let _ = write!(line, "{}:{role} ", std::process::id());
        let now = now_ms();
        let offset = sys::local_time_offset(now.div_euclid(1000));
        push_timestamp(&mut line, now + i64::from(offset) * 1000);
        let _ = write!(line, " {} {message}", level.mark());
        line.push('\n');
        self.write(&line);
        syslog::log(level, message);
    }

    fn log_signal(&self, level: Level, message: &str) {
        if self.enabled(level) {
            let (pid, secs) = (std::process::id(), now_ms().div_euclid(1000));
            self.write(&format!("{pid}:signal-handler ({secs}) {message}\n"));
        }
    }

    /// A log that cannot be written has nowhere to say so: errors are dropped.
    fn write(&self, line: &str) {
        let file = self
            .file
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match file {
            Some(path) => {
                let _ = append_to(&path).and_then(|mut file| file.write_all(line.as_bytes()));
            }
            None => {
                let mut out = io::stdout().lock();
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Milliseconds since 1970, UTC.
fn now_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY_MS: i64 = 86_400_000;

/// The time on the local clock as syslog has it, `Mon DD HH:MM:SS` without a leading zero.
pub(super) fn syslog_time() -> String {
    let now = now_ms();
    let offset = sys::local_time_offset(now.div_euclid(1000));
    let local_ms = now + i64::from(offset) * 1000;
    let (_, month, day) = civil_date(local_ms.div_euclid(DAY_MS));
    let secs = local_ms.rem_euclid(DAY_MS) / 1000;
    format!(
        "{} {day:2} {:02}:{:02}:{:02}",
        MONTHS[month],
        secs / 3600,
        secs / 60 % 60,
        secs % 60
    )
}

/// Appends `DD Mon YYYY HH:MM:SS.mmm` for milliseconds since 1970 on the local
/// clock (the offset is in already).
fn push_timestamp(line: &mut String, local_ms: i64) {
    let (year, month, day) = civil_date(local_ms.div_euclid(DAY_MS));
    let ms = local_ms.rem_euclid(DAY_MS);
    let secs = ms / 1000;
    // Writing to a String does not fail.
    let _ = write!(
        line,
        "{day:02} {} {year:04} {:02}:{:02}:{:02}.{:03}",
        MONTHS[month],
        secs / 3600,
        secs / 60 % 60,
        secs % 60,
        ms % 1000
    );
}

/// The Gregorian date of a day, given as days since 1 January 1970: the year,
/// the month from 0 and the day of the month from 1.
fn civil_date(days: i64) -> (i64, usize, i64) {
    // Years are counted from 1 March, which puts the leap day at the end of
    // one, and in eras of 400 years (146097 days), which all are alike.
    let day = days + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // From March on, months of 31 and 30 days repeat every five months (153
    // days), so a month's start is linear in its number.
    let from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * from_march + 2) / 5;
    let month = (from_march + 2) % 12;
    let january_or_february = i64::from(month < 2);
    (
        era * 400 + year + january_or_february,
        month as usize,
        of_month + 1,
    )
}

/// Sets level and file of the process' log at startup; see [`set_file`].
pub fn init(level: Level, file: Option<PathBuf>) -> io::Result<()> {
    set_level(level);
    sys::set_crash_log(file.as_deref());
    set_file(file)
}

/// The lowest level that is logged from now on.
pub fn set_level(level: Level) {
    LOGGER.level.store(level as u8, Ordering::Relaxed);
}

/// Logs to a file from now on, created if it is missing, or to standard output
/// for `None` or an empty path.
///
/// # Errors
/// If the file cannot be opened for appending; the log then stays where it was.
pub fn set_file(file: Option<PathBuf>) -> io::Result<()> {
    LOGGER.set_file(file)
}

/// The letter that each line shows for the server's role: `M` for a master, `S`
/// for a replica, `X` for a sentinel. It is `C` until set, as in Redis.
pub fn set_role(role: u8) {
    LOGGER.role.store(role, Ordering::Relaxed);
}

/// Whether lines of a level are logged at present.
#[inline]
pub fn enabled(level: Level) -> bool {
    LOGGER.enabled(level)
}

/// Logs one line; `message` comes without a line end.
pub fn log(level: Level, message: &str) {
    LOGGER.log(level, format_args!("{message}"));
}

/// What the macros call: as [`log`], with the message still to be formatted.
pub fn log_args(level: Level, message: fmt::Arguments<'_>) {
    LOGGER.log(level, message);
}

/// Ends the process, which cannot go on, as Redis does: the reason stands in the log where those who
/// look after it find it, and the system is told that this is no orderly end.
pub fn give_up(reason: &str) -> ! {
    let rule = "------------------------------------------------";
    log(Level::Warning, rule);
    log(
        Level::Warning,
        "!!! Software Failure. Press left mouse button to continue",
    );
    log(Level::Warning, &format!("Guru Meditation: {reason}"));
    log(Level::Warning, rule);
    std::process::abort()
}

/// Logs the arrival of a signal at warning level, in the format that Redis
/// keeps for it: `PID:signal-handler (UNIX-SECONDS) message`.
pub fn log_signal(message: &str) {
    LOGGER.log_signal(Level::Warning, message);
}

/// Logs at debug level; arguments as for `format!`.
#[macro_export]
macro_rules! log_debug {
    ($($arg:tt)*) => { $crate::log_at!(Debug, $($arg)*) };
}

/// Logs at verbose level; arguments as for `format!`.
#[macro_export]
macro_rules! log_verbose {
    ($($arg:tt)*) => { $crate::log_at!(Verbose, $($arg)*) };
}

/// Logs at notice level; arguments as for `format!`.
#[macro_export]
macro_rules! log_notice {
    ($($arg:tt)*) => { $crate::log_at!(Notice, $($arg)*) };
}

/// Logs at warning level; arguments as for `format!`.
#[macro_export]
macro_rules! log_warning {
    ($($arg:tt)*) => { $crate::log_at!(Warning, $($arg)*) };
}

/// Behind the four macros: looks at the level before it evaluates an argument.
#[doc(hidden)]
#[macro_export]
macro_rules! log_at {
    ($level:ident, $($arg:tt)*) => {
        if $crate::server::logger::enabled($crate::server::logger::Level::$level) {
            $crate::server::logger::log_args(
                $crate::server::logger::Level::$level,
                ::std::format_args!($($arg)*),
            )
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A path of the test's own, with nothing there.
    fn temp_path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("stdis-{name}-{}.log", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn logger_to(path: &Path) -> Logger {
        let logger = Logger::new();
        logger.set_file(Some(path.to_path_buf())).unwrap();
        logger
    }

    #[test]
    fn a_line_has_the_format_of_redis() {
        let path = temp_path("format");
        let logger = logger_to(&path);
        logger.log(Level::Warning, format_args!("one {}", 1));
        logger.role.store(b'M', Ordering::Relaxed);
        logger.log(Level::Notice, format_args!("two"));
        logger.log_signal(Level::Warning, "Received SIGTERM scheduling shutdown...");
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();

        let pid = std::process::id();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        for (line, head, tail) in [
            (lines[0], format!("{pid}:C "), " # one 1"),
            (lines[1], format!("{pid}:M "), " * two"),
        ] {
            let stamp = line
                .strip_prefix(&head)
                .unwrap()
                .strip_suffix(tail)
                .unwrap();
            let shape: String = stamp
                .chars()
                .map(|c| match c {
                    '0'..='9' => '9',
                    'a'..='z' => 'a',
                    other => other.to_ascii_uppercase(),
                })
                .map(|c| if c.is_ascii_uppercase() { 'A' } else { c })
                .collect();
            assert_eq!(shape, "99 Aaa 9999 99:99:99.999");
        }
        let head = format!("{pid}:signal-handler (");
        let (secs, message) = lines[2]
            .strip_prefix(&head)
            .unwrap()
            .split_once(") ")
            .unwrap();
        assert!(secs.parse::<i64>().unwrap() > 1_700_000_000);
        assert_eq!(message, "Received SIGTERM scheduling shutdown...");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (local_ms, text) in [
            (0, "01 Jan 1970 00:00:00.000"),
            (-1, "31 Dec 1969 23:59:59.999"),
            (951_782_400_000, "29 Feb 2000 00:00:00.000"),
            (1_709_251_199_999, "29 Feb 2024 23:59:59.999"),
            (1_709_251_200_000, "01 Mar 2024 00:00:00.000"),
            (1_735_689_599_042, "31 Dec 2024 23:59:59.042"),
            (4_107_542_400_000, "01 Mar 2100 00:00:00.000"),
        ] {
            let mut line = String::new();
            push_timestamp(&mut line, local_ms);
            assert_eq!(line, text);
        }
    }

    #[test]
    fn levels_below_the_threshold_are_neither_written_nor_formatted() {
        struct Unwanted;
        impl fmt::Display for Unwanted {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("formatted although the level is off");
            }
        }
        let path = temp_path("levels");
        let logger = logger_to(&path);
        for threshold in Level::ALL {
            logger.level.store(threshold as u8, Ordering::Relaxed);
            for level in Level::ALL {
                if logger.enabled(level) {
                    logger.log(
                        level,
                        format_args!("{} at {}", level.name(), threshold.name()),
                    );
                } else {
                    logger.log(level, format_args!("{Unwanted}"));
                }
            }
        }
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // The mark is the sixth word, after the pid and the four of the date.
        let written: Vec<&str> = text
            .lines()
            .map(|line| line.split(' ').nth(5).unwrap())
            .collect();
        assert_eq!(written.concat(), ".-*#-*#*##");
        assert!(text.ends_with(" # warning at warning\n"));
    }

    #[test]
    fn level_names_are_those_of_the_setting() {
        for level in Level::ALL {
            assert_eq!(Level::parse(&level.name().to_uppercase()), Some(level));
        }
        assert_eq!(Level::parse("info"), None);
        assert_eq!(Level::parse(""), None);
    }

    #[test]
    fn a_removed_file_is_made_anew_and_a_kept_one_appended_to() {
        let path = temp_path("rotate");
        let logger = logger_to(&path);
        logger.log(Level::Notice, format_args!("first"));
        fs::remove_file(&path).unwrap();
        logger.log(Level::Notice, format_args!("second"));
        let logger = logger_to(&path);
        logger.log(Level::Notice, format_args!("third"));
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let last_words: Vec<&str> = text
            .lines()
            .filter_map(|l| l.split(' ').next_back())
            .collect();
        assert_eq!(last_words, ["second", "third"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_changes_nothing() {
        let path = temp_path("refused");
        let logger = logger_to(&path);
        assert!(logger.set_file(Some(std::env::temp_dir())).is_err());
        logger.log(Level::Notice, format_args!("still here"));
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(text.ends_with(" * still here\n"));
        logger.set_file(Some(PathBuf::new())).unwrap();
        assert!(logger.file.read().unwrap().is_none());
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let path = temp_path("threads");
        let logger = logger_to(&path);
        std::thread::scope(|scope| {
            for id in 0..8 {
                let logger = &logger;
                scope.spawn(move || {
                    for n in 0..100 {
                        logger.log(Level::Notice, format_args!("{id} {n} {:x>2000}", ""));
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count(), 800);
        let (start, end) = (std::process::id().to_string(), "x".repeat(2000));
        for line in text.lines() {
            assert!(line.starts_with(&start) && line.ends_with(&end));
            assert_eq!(line.matches(" * ").count(), 1);
        }
    }

    #[test]
    fn the_macros_take_what_format_takes() {
        let name = "stdis";
        crate::log_notice!("{name} {}", 1);
        crate::log_warning!("plain");
        // Off unless set otherwise: the argument is not even evaluated.
        fn evaluated() -> String {
            panic!("evaluated although the level is off")
        }
        assert!(!enabled(Level::Verbose));
        crate::log_verbose!("{}", evaluated());
        crate::log_debug!("{}", evaluated());
    }
}
