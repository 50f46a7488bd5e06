//! The kinds of option values: how each is read from words, and how each is
//! shown by `CONFIG GET`.
//!
//! Pure code: nothing here knows which options exist or where their values are
//! kept. The error texts are those of Redis 7.0, to the letter.

use std::sync::Arc;

use crate::util::num::{parse_f64, parse_i64};

/// The largest value of an option that Redis keeps in a C `int`.
pub const INT_MAX: i64 = i32::MAX as i64;
/// The smallest value of an option that Redis keeps in a C `int`.
pub const INT_MIN: i64 = i32::MIN as i64;
/// The largest value of an option that Redis keeps in a C `unsigned int`.
pub const UINT_MAX: i64 = u32::MAX as i64;
/// The largest value of an option that Redis keeps in a C `long`, as a size.
pub const LONG_MAX: u64 = i64::MAX as u64;
/// How many addresses `bind` takes at most.
const MAX_BIND_ADDRESSES: usize = 16;

/// Names and numbers of an enumeration, or of the bits of a flag set.
pub type Names = &'static [(&'static str, i64)];

/// A further check on a value that already has the right type.
pub type TextCheck = fn(&[u8]) -> Result<(), &'static str>;

/// What an option holds.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// `yes` or `no`, but `yes` is refused with this reason.
    AlwaysNo(&'static str),
    /// A decimal number within bounds, both included.
    Int {
        /// The least number allowed.
        min: i64,
        /// The greatest number allowed.
        max: i64,
    },
    /// A decimal number from 0 to `INT_MAX` that is moved into bounds.
    Clamped {
        /// Lesser numbers become this one.
        low: i64,
        /// Greater numbers become this one.
        high: i64,
    },
    /// A number of bytes, with an optional unit (`64mb`).
    Memory {
        /// The least number of bytes allowed.
        min: u64,
        /// The greatest number of bytes allowed.
        max: u64,
    },
    /// A number of bytes, or a share of `maxmemory` such as `5%`. A share is
    /// kept as a negative number.
    MemoryOrPercent,
    /// An octal number from 0 to `max`.
    Octal {
        /// The greatest number allowed.
        max: i64,
    },
    /// One of a list of names, in any case.
    Enum(Names),
    /// Any of a list of names, each a set of bits.
    Flags(Names, fn(i64) -> Result<(), &'static str>),
    /// Any bytes. Redis tells an unset string from an empty one for some
    /// options; no client can see the difference, so it is not kept.
    Text,
    /// Bytes that pass a check.
    CheckedText(TextCheck),
    /// The working directory: setting it changes to it.
    Dir,
    /// A list of addresses (`bind`).
    Addresses,
    /// Pairs of seconds and changes (`save`).
    Save,
    /// Output-buffer limits: class, hard limit, soft limit, soft seconds.
    OutputLimits,
    /// Percentiles from 0 to 100.
    Percentiles,
    /// The three values of `oom-score-adj-values`.
    OomScores,
    /// Event classes of `notify-keyspace-events`, as bits.
    EventClasses,
    /// Host and port of the primary to follow, or `no one` (`replicaof`).
    Primary,
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Booleans (0 and 1), numbers, sizes (the bits of a `u64`), enumerations
    /// and flag sets.
    Int(i64),
    /// Bytes.
    Text(Arc<[u8]>),
    /// A list of words.
    Words(Arc<[Vec<u8>]>),
    /// The save points, in the order given.
    Save(Arc<[SavePoint]>),
    /// Limits for the classes normal, replica and pubsub, in this order.
    Limits([OutputLimit; 3]),
    /// A list of numbers with a fraction.
    Floats(Arc<[f64]>),
    /// A list of numbers.
    Ints(Arc<[i64]>),
}

/// `save <seconds> <changes>`: a snapshot is due when so many changes have
/// happened and so many seconds have passed since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot, at least 1.
    pub seconds: i64,
    /// Changes since the last snapshot.
    pub changes: i32,
}

/// The kinds of client that have output-buffer limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputClass {
    /// Ordinary clients, MONITOR included.
    Normal = 0,
    /// Replicas.
    Replica = 1,
    /// Clients with at least one subscription.
    Pubsub = 2,
}

/// One row of `client-output-buffer-limit`. Zero means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is closed at once.
    pub hard: u64,
    /// Bytes at which the client is closed when it stays above them.
    pub soft: u64,
    /// How many seconds it may stay above `soft`.
    pub soft_seconds: u64,
}

/// Reads the words given for an option. `old` is the value that holds now:
/// limits of classes that are not named stay as they are.
///
/// # Errors
/// Redis' reason, without the option's name.
pub fn parse<W: AsRef<[u8]>>(kind: Kind, words: &[W], old: &Value) -> Result<Value, String> {
    let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
    match kind {
        Kind::Enum(names) => parse_names(names, &words, false).map(Value::Int),
        Kind::Flags(names, check) => {
            let bits = parse_names(names, &words, true)?;
            check(bits)?;
            Ok(Value::Int(bits))
        }
        Kind::Addresses => parse_addresses(&words),
        Kind::Save => parse_save(&words),
        Kind::OutputLimits => parse_limits(&words, old),
        Kind::Percentiles => parse_percentiles(&words),
        Kind::OomScores => parse_oom_scores(&words),
        Kind::Primary => parse_primary(&words),
        _ => match words.as_slice() {
            [word] => parse_word(kind, word),
            _ => Err("wrong number of arguments".to_owned()),
        },
    }
}

/// The kinds that take exactly one word.
fn parse_word(kind: Kind, word: &[u8]) -> Result<Value, String> {
    match kind {
        Kind::Bool => parse_bool(word),
        Kind::AlwaysNo(reason) => match parse_bool(word)? {
            Value::Int(0) => Ok(Value::Int(0)),
            _ => Err(reason.to_owned()),
        },
        Kind::Int { min, max } => parse_int(word, min, max),
        Kind::Clamped { low, high } => match parse_int(word, 0, INT_MAX)? {
            Value::Int(n) => Ok(Value::Int(n.clamp(low, high))),
            other => Ok(other),
        },
        Kind::Memory { min, max } => parse_size(word, min, max),
        Kind::MemoryOrPercent => parse_size_or_percent(word),
        Kind::Octal { max } => parse_octal(word, max),
        Kind::EventClasses => parse_event_classes(word),
        Kind::CheckedText(check) => {
            check(word)?;
            Ok(Value::Text(word.into()))
        }
        _ => Ok(Value::Text(word.into())),
    }
}

/// Writes a value as `CONFIG GET` shows it.
pub fn format(kind: Kind, value: &Value) -> Vec<u8> {
    match value {
        Value::Int(n) => format_int(kind, *n).into_bytes(),
        Value::Text(bytes) => bytes.to_vec(),
        Value::Words(words) => words.join(&b' '),
        Value::Save(points) => spaced(
            points
                .iter()
                .map(|p| format!("{} {}", p.seconds, p.changes)),
        ),
        Value::Limits(limits) => spaced(["normal", "slave", "pubsub"].iter().zip(limits).map(
            |(class, limit)| {
                format!(
                    "{class} {} {} {}",
                    limit.hard, limit.soft, limit.soft_seconds
                )
            },
        )),
        Value::Floats(numbers) => spaced(numbers.iter().map(|n| {
            let text = format!("{n:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        })),
        Value::Ints(numbers) => spaced(numbers.iter().map(i64::to_string)),
    }
}

fn format_int(kind: Kind, n: i64) -> String {
    match kind {
        Kind::Bool | Kind::AlwaysNo(_) => if n != 0 { "yes" } else { "no" }.to_owned(),
        Kind::Memory { .. } => (n as u64).to_string(),
        Kind::MemoryOrPercent if n < 0 => format!("{}%", n.unsigned_abs()),
        Kind::Octal { .. } => format!("{n:o}"),
        Kind::Enum(names) => name_of(names, n).to_owned(),
        Kind::Flags(names, _) => format_flags(names, n),
        Kind::EventClasses => format_event_classes(n),
        _ => n.to_string(),
    }
}

fn spaced(items: impl Iterator<Item = String>) -> Vec<u8> {
    items.collect::<Vec<_>>().join(" ").into_bytes()
}

/// The name of a number in a list, or `unknown`.
pub fn name_of(names: Names, n: i64) -> &'static str {
    names
        .iter()
        .find(|(_, number)| *number == n)
        .map_or("unknown", |(name, _)| name)
}

fn parse_memory(word: &[u8]) -> Option<u64> {
    crate::util::num::parse_memory(std::str::from_utf8(word).ok()?)
}

fn parse_bool(word: &[u8]) -> Result<Value, String> {
    if word.eq_ignore_ascii_case(b"yes") {
        Ok(Value::Int(1))
    } else if word.eq_ignore_ascii_case(b"no") {
        Ok(Value::Int(0))
    } else {
        Err("argument must be 'yes' or 'no'".to_owned())
    }
}

fn parse_int(word: &[u8], min: i64, max: i64) -> Result<Value, String> {
    let n = parse_i64(word).ok_or("argument couldn't be parsed into an integer")?;
    if (min..=max).contains(&n) {
        Ok(Value::Int(n))
    } else {
        Err(format!(
            "argument must be between {min} and {max} inclusive"
        ))
    }
}

fn parse_size(word: &[u8], min: u64, max: u64) -> Result<Value, String> {
    let n = parse_memory(word).ok_or("argument must be a memory value")?;
    if (min..=max).contains(&n) {
        Ok(Value::Int(n as i64))
    } else {
        Err(format!(
            "argument must be between {min} and {max} inclusive"
        ))
    }
}

fn parse_size_or_percent(word: &[u8]) -> Result<Value, String> {
    let percent = || match word {
        [digits @ .., b'%'] => parse_i64(digits).filter(|n| *n >= 0).map(|n| -n),
        _ => None,
    };
    let n = parse_memory(word)
        .map(|n| n as i64)
        .or_else(percent)
        .ok_or("argument must be a memory or percent value")?;
    if n < -100 {
        return Err("percentage argument must be less or equal to 100".to_owned());
    }
    Ok(Value::Int(n))
}

fn parse_octal(word: &[u8], max: i64) -> Result<Value, String> {
    let n = parse_loose(word, 8).ok_or("argument couldn't be parsed as an octal number")?;
    if (0..=max).contains(&n) {
        Ok(Value::Int(n))
    } else {
        Err(format!("argument must be between 0 and {max:o} inclusive"))
    }
}

/// Reads a number as C's `strtoll` does when it must consume the whole word:
/// blanks and a sign may lead, an empty word is 0, and numbers out of range
/// end at the limit.
fn parse_loose(word: &[u8], radix: u32) -> Option<i64> {
    let text = std::str::from_utf8(word).ok()?;
    if text.is_empty() {
        return Some(0);
    }
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let limit = if negative { i64::MIN } else { i64::MAX };
    Some(
        i128::from_str_radix(digits, radix)
            .ok()
            .map(|n| if negative { -n } else { n })
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or(limit),
    )
}

fn parse_names(names: Names, words: &[&[u8]], several: bool) -> Result<i64, String> {
    let find = |word: &[u8]| {
        names
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
            .map(|(_, number)| *number)
    };
    let found = match words {
        [] => None,
        [word] => find(word),
        _ if several => words.iter().try_fold(0, |bits, w| Some(bits | find(w)?)),
        _ => None,
    };
    found.ok_or_else(|| {
        let list: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!(
            "argument(s) must be one of the following: {}",
            list.join(", ")
        )
    })
}

/// A name that stands for exactly these bits, or the names of the single bits.
fn format_flags(names: Names, bits: i64) -> String {
    if let Some((name, _)) = names.iter().find(|(_, number)| *number == bits) {
        return (*name).to_owned();
    }
    let set = names.iter().filter(|(_, bit)| *bit != 0 && bits & bit != 0);
    set.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

fn parse_addresses(words: &[&[u8]]) -> Result<Value, String> {
    if words.len() > MAX_BIND_ADDRESSES {
        return Err("Too many bind addresses specified.".to_owned());
    }
    Ok(Value::Words(
        unless_blank(words).iter().map(|w| w.to_vec()).collect(),
    ))
}

/// One empty word means "no words": it is how a list is emptied.
fn unless_blank<'a, 'b>(words: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
    match words {
        [b""] => &[],
        _ => words,
    }
}

fn parse_save(words: &[&[u8]]) -> Result<Value, String> {
    let (pairs, rest) = unless_blank(words).as_chunks::<2>();
    let point = |[seconds, changes]: &[&[u8]; 2]| {
        let seconds = parse_loose(seconds, 10).filter(|n| *n >= 1)?;
        let changes = parse_loose(changes, 10).filter(|n| *n >= 0)?;
        Some(SavePoint {
            seconds,
            changes: changes.min(INT_MAX) as i32,
        })
    };
    let points: Option<Arc<[SavePoint]>> = pairs.iter().map(point).collect();
    match points {
        Some(points) if rest.is_empty() => Ok(Value::Save(points)),
        _ => Err("Invalid save parameters".to_owned()),
    }
}

fn parse_limits(words: &[&[u8]], old: &Value) -> Result<Value, String> {
    let (rows, rest) = words.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    let mut limits = match old {
        Value::Limits(limits) => *limits,
        _ => [OutputLimit::default(); 3],
    };
    for [class, hard, soft, seconds] in rows {
        let class = match class.to_ascii_lowercase().as_slice() {
            b"normal" => OutputClass::Normal,
            b"slave" | b"replica" => OutputClass::Replica,
            b"pubsub" => OutputClass::Pubsub,
            _ => {
                return Err(
                    "Invalid client class specified in buffer limit configuration.".to_owned(),
                );
            }
        };
        let limit = || {
            Some(OutputLimit {
                hard: parse_memory(hard)?,
                soft: parse_memory(soft)?,
                soft_seconds: u64::try_from(parse_loose(seconds, 10)?).ok()?,
            })
        };
        limits[class as usize] = limit()
            .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
    }
    Ok(Value::Limits(limits))
}

fn parse_primary(words: &[&[u8]]) -> Result<Value, String> {
    let [host, port] = words else {
        return Err("wrong number of arguments".to_owned());
    };
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return Ok(Value::Words(Arc::from([])));
    }
    let number = parse_loose(port, 10).filter(|n| (0..=65535).contains(n));
    let number = number.ok_or("Invalid master port")?;
    let words = [host.to_vec(), number.to_string().into_bytes()];
    Ok(Value::Words(Arc::from(words)))
}

fn parse_percentiles(words: &[&[u8]]) -> Result<Value, String> {
    let mut numbers = Vec::new();
    for word in unless_blank(words) {
        let n = parse_f64(word)
            .filter(|n| !n.is_nan())
            .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&n) {
            return Err(
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                    .to_owned(),
            );
        }
        numbers.push(n);
    }
    Ok(Value::Floats(numbers.into()))
}

fn parse_oom_scores(words: &[&[u8]]) -> Result<Value, String> {
    if words.len() != 3 {
        return Err("wrong number of arguments".to_owned());
    }
    let score = |word: &&[u8]| parse_loose(word, 10).filter(|n| (-2000..=2000).contains(n));
    let scores: Option<Arc<[i64]>> = words.iter().map(score).collect();
    scores.map(Value::Ints).ok_or_else(|| {
        "Invalid oom-score-adj-values, elements must be between -2000 and 2000.".to_owned()
    })
}

/// Event classes in the order in which Redis shows them, up to `n`; the bits
/// are Redis' own.
const EVENT_CLASSES: [(u8, i64); 14] = [
    (b'g', 1 << 2),
    (b'$', 1 << 3),
    (b'l', 1 << 4),
    (b's', 1 << 5),
    (b'h', 1 << 6),
    (b'z', 1 << 7),
    (b'x', 1 << 8),
    (b'e', 1 << 9),
    (b't', 1 << 10),
    (b'd', 1 << 13),
    (b'n', 1 << 14),
    (b'K', 1),
    (b'E', 1 << 1),
    (b'm', 1 << 11),
];
/// What `A` stands for: `g$lshzxetd`.
const ALL_EVENT_CLASSES: i64 = 0x27fc;

fn parse_event_classes(word: &[u8]) -> Result<Value, String> {
    let bits = |c: &u8| match c {
        b'A' => Some(ALL_EVENT_CLASSES),
        _ => EVENT_CLASSES
            .iter()
            .find(|(class, _)| class == c)
            .map(|(_, bit)| *bit),
    };
    word.iter()
        .try_fold(0, |all, c| Some(all | bits(c)?))
        .map(Value::Int)
        .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned())
}

/// Redis drops `n` when it can write `A`; clients compare the text, so this
/// does too.
fn format_event_classes(bits: i64) -> String {
    let all = bits & ALL_EVENT_CLASSES == ALL_EVENT_CLASSES;
    let mut text = String::from(if all { "A" } else { "" });
    for (class, bit) in EVENT_CLASSES {
        let covered = all && !matches!(class, b'K' | b'E' | b'm');
        if bits & bit != 0 && !covered {
            text.push(char::from(class));
        }
    }
    text
}
