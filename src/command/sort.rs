//! `SORT` and `SORT_RO`: the elements of a list, set or sorted set in order.
//!
//! The weights that elements are ordered by, and the values returned in their place, may be those
//! of other keys, whose names are made from the elements by a [`Pattern`]. Such keys are no
//! arguments, so a command with patterns of that kind runs with every shard locked ([`scope`]);
//! all others need the shards of their keys only.
//!
//! The elements are copied into one buffer ([`Texts`]) and ordered by a number for each
//! ([`Rank`]): the weight itself, or the first bytes of a text. Only where these are equal the
//! texts are compared. Of a part chosen by `LIMIT` the rest is not put in order.
//!
//! Redis compares texts by the locale that the server runs in; here it is always by their bytes.

use std::cmp::Ordering;
use std::ops::Range;

use super::error::{Error, Outcome, SYNTAX, WRONG_TYPE};
use super::keyspace::Class;
use super::options::{int, is};
use super::replies::item_or_null;
use super::spec::*;
use super::{Args, Ctx, Keyspace};
use super::{hashes, lists, permissions};
use crate::types::listpack::Item;
use crate::types::quicklist::{End, List, Quicklist};
use crate::types::{Value, string};
use crate::util::float;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("sort", -2, sort)
        .flags(WRITE.or(DENYOOM).or(MOVABLEKEYS))
        .acl(CAT_SET.or(CAT_SORTEDSET).or(CAT_LIST).or(CAT_DANGEROUS))
        .keys(&[
            KeySpec::one(1, RO.or(ACCESS)),
            KeySpec::unknown(RO.or(ACCESS)).notes(PATTERN_NOTES),
            KeySpec::unknown(OW.or(UPDATE)).notes(STORE_NOTES),
        ])
        .find_keys(sort_keys)
        .locking(Locking::ByArgs(scope))
        .slow()
        .docs(
            Group::Generic,
            "1.0.0",
            "O(N+M*log(M)), N elements of the key, M of them returned; O(N) without sorting",
            "Returns or stores the elements of a list, set or sorted set in order",
        )
        .args(
            "key [BY pattern#1] [LIMIT offset_count:{offset:integer count:integer}] \
                [GET pattern#1]... [order:(ASC | DESC)] [sorting:\"ALPHA\"] [STORE \
                destination:key#2]",
        ),
    Command::new("sort_ro", -2, sort_ro)
        .flags(READONLY.or(MOVABLEKEYS))
        .acl(CAT_SET.or(CAT_SORTEDSET).or(CAT_LIST).or(CAT_DANGEROUS))
        .keys(&[
            KeySpec::one(1, RO.or(ACCESS)),
            KeySpec::unknown(RO.or(ACCESS)).notes(PATTERN_NOTES),
        ])
        .find_keys(sort_ro_keys)
        .locking(Locking::ByArgs(scope_ro))
        .slow()
        .docs(
            Group::Generic,
            "7.0.0",
            "O(N+M*log(M)), N elements of the key, M of them returned; O(N) without sorting",
            "Returns the elements of a list, set or sorted set in order, without a way \
                to store",
        )
        .args(
            "key [BY pattern#1] [LIMIT offset_count:{offset:integer count:integer}] \
                [GET pattern#1]... [order:(ASC | DESC)] [sorting:\"ALPHA\"]",
        ),
];

const PATTERN_NOTES: &str =
    "Keys of BY and GET, whose names depend on the elements of the sorted key";
const STORE_NOTES: &str = "The key of STORE, which may stand anywhere among the options";

const NOT_A_WEIGHT: Error = Error::new("ERR One or more scores can't be converted into double");

// ------------------------------------------------------------------ arguments

/// An option, with the argument that its value is at.
enum Word {
    Asc,
    Desc,
    Alpha,
    Limit(usize),
    By(usize),
    Get(usize),
    Store(usize),
}

/// The option at `at` and the position behind it; `None` where none stands, or not enough behind
/// it.
fn word(args: &Args<'_>, at: usize) -> Option<(Word, usize)> {
    let (name, behind) = (args.get(at)?, args.len() - at - 1);
    let value = at + 1;
    Some(match behind {
        _ if is(name, "ASC") => (Word::Asc, value),
        _ if is(name, "DESC") => (Word::Desc, value),
        _ if is(name, "ALPHA") => (Word::Alpha, value),
        2.. if is(name, "LIMIT") => (Word::Limit(value), value + 2),
        1.. if is(name, "STORE") => (Word::Store(value), value + 1),
        1.. if is(name, "BY") => (Word::By(value), value + 1),
        1.. if is(name, "GET") => (Word::Get(value), value + 1),
        _ => return None,
    })
}

/// All options. What is none is skipped: the command itself will refuse it.
fn words(args: &Args<'_>) -> impl Iterator<Item = Word> {
    let mut at = 2;
    std::iter::from_fn(move || {
        while at < args.len() {
            match word(args, at) {
                Some((word, next)) => {
                    at = next;
                    return Some(word);
                }
                None => at += 1,
            }
        }
        None
    })
}

/// The sorted key, and that of the last STORE.
fn sort_keys(args: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
    let mut keys = vec![(1, RO.or(ACCESS))];
    let stores = words(args).filter_map(|word| match word {
        Word::Store(at) => Some((at, OW.or(UPDATE))),
        _ => None,
    });
    keys.extend(stores.last());
    Some(keys)
}

fn sort_ro_keys(_: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
    Some(vec![(1, RO.or(ACCESS))])
}

/// Which shards SORT needs and how: all of them with patterns that lead to other keys, and
/// exclusively with STORE.
fn scope(args: &Args<'_>) -> Scope {
    let mut scope = Scope {
        all: false,
        write: false,
    };
    for word in words(args) {
        match word {
            Word::By(at) | Word::Get(at) => {
                scope.all |= matches!(Pattern::new(&args[at]), Pattern::Key { .. });
            }
            Word::Store(_) => scope.write = true,
            _ => {}
        }
    }
    scope
}

/// The same for SORT_RO, which never writes.
fn scope_ro(args: &Args<'_>) -> Scope {
    Scope {
        write: false,
        ..scope(args)
    }
}

const BY_DENIED: Error =
    Error::new("ERR BY option of SORT denied due to insufficient ACL permissions.");
const GET_DENIED: Error =
    Error::new("ERR GET option of SORT denied due to insufficient ACL permissions.");

/// What the command is asked for.
struct Request<'a> {
    desc: bool,
    alpha: bool,
    /// Whether the elements stay in the order in which the key holds them.
    unsorted: bool,
    offset: i64,
    count: i64,
    by: Option<Pattern<'a>>,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads the options. `reads_all` is whether the client may read keys whatever their names.
    fn read(args: &'a Args<'_>, may_store: bool, reads_all: bool) -> Outcome<Request<'a>> {
        let mut request = Request {
            desc: false,
            alpha: false,
            unsorted: false,
            offset: 0,
            count: -1,
            by: None,
            get: Vec::new(),
            store: None,
        };
        let mut at = 2;
        while at < args.len() {
            let (word, next) = word(args, at).ok_or(SYNTAX)?;
            match word {
                Word::Asc => request.desc = false,
                Word::Desc => request.desc = true,
                Word::Alpha => request.alpha = true,
                Word::Limit(at) => {
                    request.offset = int(args, at)?;
                    request.count = int(args, at + 1)?;
                }
                Word::By(at) => {
                    let by = Pattern::new(&args[at]);
                    let leads_to_keys = matches!(by, Pattern::Key { .. });
                    if leads_to_keys && !reads_all {
                        return Err(BY_DENIED);
                    }
                    // One pattern without a star is enough, wherever it stands.
                    request.unsorted |= !leads_to_keys;
                    request.by = Some(by);
                }
                Word::Get(_) if !reads_all => return Err(GET_DENIED),
                Word::Get(at) => request.get.push(Pattern::new(&args[at])),
                Word::Store(at) if may_store => request.store = Some(&args[at]),
                Word::Store(_) => return Err(SYNTAX),
            }
            at = next;
        }
        Ok(request)
    }

    /// Which of `len` elements in order are asked for.
    fn window(&self, len: usize) -> Range<usize> {
        let within = |n: i64| usize::try_from(n).map_or(len, |n| n.min(len));
        let start = within(self.offset.max(0));
        let count = if self.count < 0 {
            len
        } else {
            within(self.count)
        };
        start..start.saturating_add(count).min(len)
    }
}

/// What stands in for an element, by the text of BY or GET.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// A pattern without a star: nothing at all.
    Nothing,
    /// The string in the key named by the pattern with the element in the place of its first
    /// star or, with `->field` at the end, the field of the hash in there.
    Key {
        before: &'a [u8],
        after: &'a [u8],
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    fn new(text: &'a [u8]) -> Pattern<'a> {
        // `#`, the star and the arrow are looked for up to a zero byte only, as in Redis.
        let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
        if &text[..end] == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text[..end].iter().position(|&b| b == b'*') else {
            return Pattern::Nothing;
        };
        let tail = &text[star + 1..end];
        let arrow = tail.windows(2).position(|pair| pair == b"->");
        // An arrow with nothing behind it belongs to the key.
        let arrow = arrow.filter(|at| at + 2 < tail.len());
        let rest = &text[star + 1..];
        Pattern::Key {
            before: &text[..star],
            after: &rest[..arrow.unwrap_or(rest.len())],
            field: arrow.map(|at| &rest[at + 2..]),
        }
    }

    /// Looks up what stands in for `element` and hands it to `found`. `key` is room for the key's
    /// name.
    fn resolve<R>(
        &self,
        db: &mut Keyspace<'_>,
        element: &[u8],
        key: &mut Vec<u8>,
        found: impl FnOnce(Option<Item<'_>>) -> R,
    ) -> R {
        let (before, after, field) = match *self {
            Pattern::Element => return found(Some(Item::Bytes(element))),
            Pattern::Nothing => return found(None),
            Pattern::Key {
                before,
                after,
                field,
            } => (before, after, field),
        };
        key.clear();
        for part in [before, element, after] {
            key.extend_from_slice(part);
        }
        // The room is used again and again, so its hash must not be remembered.
        db.forget_hash();
        let now = db.now;
        let mut scratch = [0; 20];
        let value = match (db.get(key), field) {
            (Some(Value::Hash(hash)), Some(field)) => hashes::value(hash, field, now),
            (Some(value), None) => string::bytes(value, &mut scratch).map(Item::Bytes),
            _ => None,
        };
        found(value)
    }
}

// ------------------------------------------------------------------- ordering

/// Texts in a row in one buffer.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, item: Item<'_>) {
        self.bytes.extend_from_slice(item.bytes(&mut [0; 20]));
        self.ends.push(self.bytes.len());
    }

    fn get(&self, at: usize) -> &[u8] {
        let start = match at {
            0 => 0,
            at => self.ends[at - 1],
        };
        &self.bytes[start..self.ends[at]]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}

/// An element's place in the order, as far as a number tells it, and which one it is.
#[derive(Clone, Copy)]
struct Rank {
    key: u64,
    at: usize,
}

/// The weight that a text stands for.
fn weight(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(int) => Some(int as f64),
        Item::Bytes(text) => float::parse_f64_weight(text),
    }
}

/// A number whose order is that of the weights.
fn weight_key(weight: f64) -> u64 {
    // Adding zero makes -0 the same as 0.
    let bits = (weight + 0.0).to_bits();
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}

/// A number whose order is that of the texts by their first bytes; a missing one comes first.
fn text_key(text: Option<&[u8]>) -> u64 {
    let Some(text) = text else {
        return 0;
    };
    let mut head = [0; 8];
    let len = text.len().min(8);
    head[..len].copy_from_slice(&text[..len]);
    u64::from_be_bytes(head) >> 1 | 1 << 63
}

/// Moves the ranks of `window` to their places in the order; those outside of it end up anywhere
/// on their side. `ties` are the texts that decide between equal keys; elements that are equal in
/// these too stay in the order in which they came.
fn put_in_order(ranks: &mut [Rank], window: Range<usize>, ties: &Texts, desc: bool) {
    let order = |a: &Rank, b: &Rank| {
        let by_text = || ties.get(a.at).cmp(ties.get(b.at));
        let order = a.key.cmp(&b.key).then_with(by_text);
        let order = if desc { order.reverse() } else { order };
        match order {
            Ordering::Equal => a.at.cmp(&b.at),
            order => order,
        }
    };
    if window.is_empty() {
        return;
    }
    let mut part = ranks;
    if window.end < part.len() {
        part.select_nth_unstable_by(window.end, order);
        part = &mut part[..window.end];
    }
    if window.start > 0 {
        part.select_nth_unstable_by(window.start, order);
        part = &mut part[window.start..];
    }
    part.sort_unstable_by(order);
}

/// Hands the elements of a value to `visit` in the order in which it holds them, only those of the
/// window that `choose` makes of their number. Sorted sets and lists can be walked backward.
fn walk(
    value: Option<&Value>,
    backward: bool,
    choose: impl FnOnce(usize) -> Range<usize>,
    mut visit: impl FnMut(Item<'_>),
) -> Outcome {
    match value {
        None => {}
        Some(Value::List(list)) => {
            let window = choose(list.len());
            if !window.is_empty() {
                let start = match backward {
                    true => list.len() - 1 - window.start,
                    false => window.start,
                };
                list.walk(start, window.len(), backward).for_each(visit);
            }
        }
        Some(Value::Set(set)) => {
            let window = choose(set.len());
            let members = set.iter().skip(window.start).take(window.len());
            members.for_each(visit);
        }
        Some(Value::ZSet(zset)) => {
            let window = choose(zset.len());
            if !window.is_empty() {
                let pairs = match backward {
                    true => zset.down(zset.len() - window.start),
                    false => zset.up(window.start),
                };
                pairs
                    .take(window.len())
                    .for_each(|(member, _)| visit(member));
            }
        }
        Some(_) => return Err(WRONG_TYPE),
    }
    Ok(())
}

/// The chosen elements in order: all the texts, and which of them.
struct Sorted {
    texts: Texts,
    ranks: Vec<Rank>,
    window: Range<usize>,
}

impl Sorted {
    /// The elements in turn.
    fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let ranks = &self.ranks[self.window.clone()];
        ranks.iter().map(|rank| self.texts.get(rank.at))
    }
}

/// The elements that are asked for in the order in which `source` holds them.
fn as_they_come(source: Option<&Value>, request: &Request<'_>) -> Outcome<Sorted> {
    let mut texts = Texts::default();
    let choose = |len| request.window(len);
    walk(source, request.desc, choose, |item| texts.push(item))?;
    let ranks: Vec<Rank> = (0..texts.len()).map(|at| Rank { key: 0, at }).collect();
    let window = 0..ranks.len();
    Ok(Sorted {
        texts,
        ranks,
        window,
    })
}

/// Reads the elements of `key` and puts them in order.
fn sorted(db: &mut Keyspace<'_>, key: &[u8], request: &mut Request<'_>) -> Outcome<Sorted> {
    let source = db.get(key);
    // What a script or a replica gets out of a set must not depend on chance.
    if request.unsorted && request.store.is_some() && matches!(source, Some(Value::Set(_))) {
        (request.unsorted, request.alpha, request.by) = (false, true, None);
    }
    if request.unsorted {
        return as_they_come(source, request);
    }
    let (mut texts, mut ranks) = (Texts::default(), Vec::new());
    let (by, alpha) = (request.by, request.alpha);
    let mut fine = true;
    let mut rank = |item: Item<'_>, at| {
        let weight = weight(item);
        fine &= weight.is_some();
        let key = weight_key(weight.unwrap_or(0.0));
        ranks.push(Rank { key, at });
    };
    walk(
        source,
        false,
        |len| 0..len,
        |item| {
            texts.push(item);
            if by.is_none() && !alpha {
                rank(item, texts.len() - 1);
            }
        },
    )?;
    let mut weights = Texts::default();
    match by {
        Some(by) if alpha => ranks = text_weights(db, &texts, &by, &mut weights),
        Some(by) => {
            let mut room = Vec::new();
            for at in 0..texts.len() {
                // An element without a weight counts as 0.
                by.resolve(db, texts.get(at), &mut room, |item| {
                    rank(item.unwrap_or(Item::Int(0)), at);
                });
            }
        }
        None if alpha => {
            let own = |at| Rank {
                key: text_key(Some(texts.get(at))),
                at,
            };
            ranks.extend((0..texts.len()).map(own));
        }
        None => {}
    }
    if !fine {
        return Err(NOT_A_WEIGHT);
    }
    let window = request.window(ranks.len());
    let ties = match by {
        Some(_) if alpha => &weights,
        _ => &texts,
    };
    put_in_order(&mut ranks, window.clone(), ties, request.desc);
    Ok(Sorted {
        texts,
        ranks,
        window,
    })
}

/// The ranks of elements by texts that are looked up, and these.
fn text_weights(
    db: &mut Keyspace<'_>,
    elements: &Texts,
    by: &Pattern<'_>,
    weights: &mut Texts,
) -> Vec<Rank> {
    let mut room = Vec::new();
    let rank = |at| {
        by.resolve(db, elements.get(at), &mut room, |item| {
            weights.push(item.unwrap_or(Item::Bytes(b"")));
            let text = item.map(|_| weights.get(at));
            Rank {
                key: text_key(text),
                at,
            }
        })
    };
    (0..elements.len()).map(rank).collect()
}

// ------------------------------------------------------------------- commands

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA]
/// [STORE destination]`
fn sort(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    sort_key(c, args, true)
}

/// `SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA]`
fn sort_ro(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    sort_key(c, args, false)
}

fn sort_key(c: &mut Ctx<'_>, args: &Args<'_>, may_store: bool) -> Outcome {
    let reads_all = permissions::may_read_any_key(c.session, c.row, args);
    let mut request = Request::read(args, may_store, reads_all)?;
    let sorted = sorted(&mut c.db, &args[1], &mut request)?;
    match request.store {
        Some(destination) => store(c, &sorted, &request.get, destination),
        None => reply(c, &sorted, &request.get),
    }
    Ok(())
}

fn reply(c: &mut Ctx<'_>, sorted: &Sorted, get: &[Pattern<'_>]) {
    let elements = sorted.iter();
    if get.is_empty() {
        c.out.array(elements.len());
        elements.for_each(|element| c.out.bulk(element));
        return;
    }
    c.out.array(elements.len() * get.len());
    let (out, mut room) = (&mut *c.out, Vec::new());
    for element in elements {
        for pattern in get {
            pattern.resolve(&mut c.db, element, &mut room, |item| {
                item_or_null(out, item);
            });
        }
    }
}

fn store(c: &mut Ctx<'_>, sorted: &Sorted, get: &[Pattern<'_>], destination: &[u8]) {
    let limits = lists::limits(c.server);
    let mut chunked = Quicklist::new(&limits);
    let mut room = Vec::new();
    for element in sorted.iter() {
        if get.is_empty() {
            chunked.push(End::Tail, element, &limits);
        }
        for pattern in get {
            pattern.resolve(&mut c.db, element, &mut room, |item| {
                let text = item.unwrap_or(Item::Bytes(b""));
                chunked.push(End::Tail, text.bytes(&mut [0; 20]), &limits);
            });
        }
    }
    let len = chunked.len();
    let list = (len > 0).then(|| {
        let mut list = List::Chunked(Box::new(chunked));
        list.settle(&limits);
        Value::List(list)
    });
    // The keys that were looked up are gone from the room, and so must be their hash.
    c.db.forget_hash();
    c.db.store(destination, list, Class::List, "sortstore");
    // Each element counts as a change; the key itself has been counted.
    c.db.changes += len.saturating_sub(1) as u64;
    c.out.count(len);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn patterns() {
        let key = |before, after, field| Pattern::Key {
            before,
            after,
            field,
        };
        for (text, pattern) in [
            (&b"#"[..], Pattern::Element),
            (b"#\0*", Pattern::Element),
            (b"##", Pattern::Nothing),
            (b"", Pattern::Nothing),
            (b"nosort", Pattern::Nothing),
            (b"a\0*", Pattern::Nothing),
            (b"*", key(b"", b"", None)),
            (b"a*b*c", key(b"a", b"b*c", None)),
            (b"h_*->f", key(b"h_", b"", Some(b"f"))),
            (b"h_*x->f->g", key(b"h_", b"x", Some(b"f->g"))),
            (b"h_*->", key(b"h_", b"->", None)),
            (b"->*", key(b"->", b"", None)),
            (b"*->\0f", key(b"", b"->\0f", None)),
            (b"*\0->f", key(b"", b"\0->f", None)),
        ] {
            assert_eq!(Pattern::new(text), pattern, "{text:?}");
        }
    }

    #[test]
    fn keys_and_locks_follow_the_options() {
        let asked = |line: &str| {
            let mut owned = OwnedArgs::new(line.split(' '));
            let args = owned.args();
            let keys: Vec<usize> = sort_keys(&args)
                .into_iter()
                .flatten()
                .map(|(at, _)| at)
                .collect();
            let scope = scope(&args);
            (keys, scope.all, scope.write)
        };
        assert_eq!(asked("sort k"), (vec![1], false, false));
        assert_eq!(asked("sort k store d"), (vec![1, 3], false, true));
        assert_eq!(asked("sort k store d STORE e"), (vec![1, 5], false, true));
        // The value of an option is no option.
        assert_eq!(asked("sort k by store get store"), (vec![1], false, false));
        assert_eq!(asked("sort k store get store d"), (vec![1, 5], false, true));
        assert_eq!(asked("sort k limit store 1"), (vec![1], false, false));
        assert_eq!(asked("sort k by nosort get #"), (vec![1], false, false));
        assert_eq!(asked("sort k by w_*"), (vec![1], true, false));
        assert_eq!(asked("sort k get *->f store d"), (vec![1, 5], true, true));
        // Nothing behind STORE; the command will refuse it.
        assert_eq!(asked("sort k store"), (vec![1], false, false));
    }

    #[test]
    fn windows() {
        let window = |offset, count| {
            let mut owned = OwnedArgs::new(["sort", "k"]);
            let args = owned.args();
            let mut request = Request::read(&args, true, true).expect("no options");
            (request.offset, request.count) = (offset, count);
            request.window(5)
        };
        assert_eq!(window(0, -1), 0..5);
        assert_eq!(window(-3, 2), 0..2);
        assert_eq!(window(2, i64::MAX), 2..5);
        assert_eq!(window(i64::MAX, i64::MAX), 5..5);
        assert_eq!(window(i64::MIN, i64::MIN), 0..5);
        assert!(window(1, 0).is_empty());
    }

    #[test]
    fn keys_order_as_what_they_stand_for() {
        let weights = [
            f64::NEG_INFINITY,
            -1e300,
            -1.5,
            -0.0,
            5e-324,
            1.0,
            1e300,
            f64::INFINITY,
        ];
        assert!(weights.is_sorted_by(|a, b| weight_key(*a) < weight_key(*b)));
        assert_eq!(weight_key(0.0), weight_key(-0.0));
        let texts: [Option<&[u8]>; 6] = [
            None,
            Some(b""),
            Some(b"a"),
            Some(b"a\x01"),
            Some(b"b"),
            Some(b"\xff"),
        ];
        assert!(texts.is_sorted_by_key(|text| text_key(*text)));
        assert_ne!(text_key(None), text_key(Some(b"")));
    }

    #[test]
    fn a_window_is_what_sorting_everything_gives() {
        let mut texts = Texts::default();
        for n in 0..500_i64 {
            texts.push(Item::Int(n * 7919 % 83));
        }
        let ranks: Vec<Rank> = (0..texts.len())
            .map(|at| Rank {
                key: (at * 31 % 17) as u64,
                at,
            })
            .collect();
        for desc in [false, true] {
            let mut all = ranks.clone();
            put_in_order(&mut all, 0..500, &texts, desc);
            let order: Vec<usize> = all.iter().map(|rank| rank.at).collect();
            for window in [0..1, 0..10, 499..500, 100..130, 250..500, 7..7] {
                let mut part = ranks.clone();
                put_in_order(&mut part, window.clone(), &texts, desc);
                let part: Vec<usize> = part[window.clone()].iter().map(|rank| rank.at).collect();
                assert_eq!(part, order[window.clone()], "{window:?} {desc}");
            }
        }
    }
}
