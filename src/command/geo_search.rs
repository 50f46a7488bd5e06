//! The searches of the geo commands: GEORADIUS and its kin, GEOSEARCH and GEOSEARCHSTORE, which
//! are one search in different clothes.
//!
//! A search covers its shape with a few ranges of scores ([`Search::score_ranges`]), walks through
//! them and measures every member in there. What it finds is kept as score, distance and a number
//! under which the member is looked up in the end, so that only those that are returned are
//! touched.

use std::ops::Range;

use super::error::{Error, NOT_AN_INTEGER, Outcome, SYNTAX};
use super::geo::{position, position_of, unit, write_distance, write_position};
use super::keyspace::Class;
use super::options::{int_or, is};
use super::spec::*;
use super::{Args, Ctx, zsets};
use crate::resp::Reply;
use crate::types::Value;
use crate::types::geohash::{Position, Search, Shape};
use crate::types::listpack::Item;
use crate::types::member_dict::MemberDict;
use crate::types::zset::{Limits, ScoreRange, ZSet};
use crate::util::num;
use crate::util::partial_sort::sort_first;

/// The rows of the searches.
pub const COMMANDS: &[Command] = &[
    Command::new("georadius", -6, georadius)
        .flags(WRITE.or(DENYOOM).or(MOVABLEKEYS))
        .acl(CAT_GEO)
        .keys(&[
            KeySpec::one(1, RO.or(ACCESS)),
            KeySpec::after("STORE", 6, ONE, OW.or(UPDATE)),
            KeySpec::after("STOREDIST", 6, ONE, OW.or(UPDATE)),
        ])
        .find_keys(georadius_keys)
        .docs(
            Group::Geo,
            "3.2.0",
            COMPLEXITY,
            "Finds or stores the members within a distance of a position",
        )
        .args(
            "key longitude:double latitude:double radius:double unit:(M | KM | FT | MI) \
                [WITHCOORD] [WITHDIST] [WITHHASH] [count:{COUNT count:integer [ANY@6.2.0]}] \
                [order:(ASC | DESC)] [STORE key#1] [STOREDIST key#2]",
        )
        .history(&[
            ("6.2.0", "ANY may go with COUNT"),
            ("7.0.0", "Units may be in upper case"),
        ])
        .deprecated(
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
        ),
    Command::new("georadius_ro", -6, georadius_ro)
        .flags(READONLY)
        .acl(CAT_GEO)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Geo,
            "3.2.10",
            COMPLEXITY,
            "Finds the members within a distance of a position",
        )
        .args(
            "key longitude:double latitude:double radius:double unit:(M | KM | FT | MI) \
                [WITHCOORD] [WITHDIST] [WITHHASH] [count:{COUNT count:integer [ANY@6.2.0]}] \
                [order:(ASC | DESC)]",
        )
        .history(&[("6.2.0", "ANY may go with COUNT")])
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    Command::new("georadiusbymember", -5, georadiusbymember)
        .flags(WRITE.or(DENYOOM).or(MOVABLEKEYS))
        .acl(CAT_GEO)
        .keys(&[
            KeySpec::one(1, RO.or(ACCESS)),
            KeySpec::after("STORE", 5, ONE, OW.or(UPDATE)),
            KeySpec::after("STOREDIST", 5, ONE, OW.or(UPDATE)),
        ])
        .find_keys(georadiusbymember_keys)
        .docs(
            Group::Geo,
            "3.2.0",
            COMPLEXITY,
            "Finds or stores the members within a distance of another member",
        )
        .args(
            "key member radius:double unit:(M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] \
                [count:{COUNT count:integer [ANY]}] [order:(ASC | DESC)] [STORE key#1] \
                [STOREDIST key#2]",
        )
        .history(&[("7.0.0", "Units may be in upper case")])
        .deprecated(
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        ),
    Command::new("georadiusbymember_ro", -5, georadiusbymember_ro)
        .flags(READONLY)
        .acl(CAT_GEO)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Geo,
            "3.2.10",
            COMPLEXITY,
            "Finds the members within a distance of another member",
        )
        .args(
            "key member radius:double unit:(M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] \
                [count:{COUNT count:integer [ANY]}] [order:(ASC | DESC)]",
        )
        .deprecated(
            "6.2.0",
            "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
        ),
    Command::new("geosearch", -7, geosearch)
        .flags(READONLY)
        .acl(CAT_GEO)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Geo,
            "6.2.0",
            COMPLEXITY,
            "Finds the members within a circle or a box",
        )
        .args(
            "key from:(FROMMEMBER member | FROMLONLAT longitude_latitude:{longitude:double \
                latitude:double}) by:(circle:{BYRADIUS radius:double unit:(M | KM | FT | MI)} \
                | box:{BYBOX width:double height:double unit:(M | KM | FT | MI)}) \
                [order:(ASC | DESC)] [count:{COUNT count:integer [ANY]}] [WITHCOORD] [WITHDIST] \
                [WITHHASH]",
        )
        .history(&[("7.0.0", "Units may be in upper case")]),
    Command::new("geosearchstore", -8, geosearchstore)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_GEO)
        .keys(&[
            KeySpec::one(1, OW.or(UPDATE)),
            KeySpec::one(2, RO.or(ACCESS)),
        ])
        .docs(
            Group::Geo,
            "6.2.0",
            COMPLEXITY,
            "Stores the members within a circle or a box in another sorted set",
        )
        .args(
            "destination:key source:key#1 from:(FROMMEMBER member \
                | FROMLONLAT longitude_latitude:{longitude:double latitude:double}) \
                by:(circle:{BYRADIUS radius:double unit:(M | KM | FT | MI)} \
                | box:{BYBOX width:double height:double unit:(M | KM | FT | MI)}) \
                [order:(ASC | DESC)] [count:{COUNT count:integer [ANY]}] [STOREDIST]",
        )
        .history(&[("7.0.0", "Units may be in upper case")]),
];

const COMPLEXITY: &str = "O(N + log M), N the members in the cells that cover the area, M all \
    members";
const ONE: Find = Find::Range {
    last: 0,
    step: 1,
    limit: 0,
};

const NO_MEMBER: Error = Error::new("ERR could not decode requested zset member");

// ---------------------------------------------------------------- arguments

/// What the commands differ in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// GEORADIUS: key, longitude, latitude, radius, unit.
    Around,
    /// GEORADIUSBYMEMBER: key, member, radius, unit.
    AroundMember,
    /// GEOSEARCH: everything is an option.
    Search,
    /// GEOSEARCHSTORE: the same behind the destination.
    SearchStore,
}

impl Form {
    /// Where the key is that is searched.
    fn source(self) -> usize {
        match self {
            Form::SearchStore => 2,
            _ => 1,
        }
    }

    /// Where the options start.
    fn options(self) -> usize {
        match self {
            Form::Around => 6,
            Form::AroundMember => 5,
            Form::Search => 2,
            Form::SearchStore => 3,
        }
    }

    /// Whether centre and shape are options.
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Ascending,
    Descending,
}

/// From where distances are measured.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Origin {
    /// A position.
    Here(Position),
    /// A member; `None` when the key is not there, so that there is nothing to find anyway.
    Member(Option<Position>),
}

/// The arguments of a search.
#[derive(Debug, Default)]
struct Query {
    from: Option<Origin>,
    /// In metres.
    shape: Option<Shape>,
    /// Metres of the unit in which distances are returned.
    unit: f64,
    with_distance: bool,
    with_hash: bool,
    with_position: bool,
    order: Option<Order>,
    /// At most so many results, unless it is 0.
    count: usize,
    /// Whether any results will do, not only the nearest.
    any: bool,
    /// Where the argument is that names the destination.
    store: Option<usize>,
    /// Whether distances are stored rather than positions.
    store_distance: bool,
}

/// A radius, width or height.
fn length(args: &Args<'_>, index: usize, error: Error) -> Outcome<f64> {
    num::parse_f64(args.get(index).ok_or(SYNTAX)?).ok_or(error)
}

impl Query {
    /// Reads the arguments; `zset` is what is to be searched. The order of the checks is that of
    /// Redis.
    fn read(args: &Args<'_>, form: Form, may_store: bool, zset: Option<&ZSet>) -> Outcome<Query> {
        let mut query = Query::default();
        match form {
            Form::Around => {
                query.from = Some(Origin::Here(position(args, 2)?));
                query.read_circle(args, 4)?;
            }
            Form::AroundMember => {
                query.read_member(args, 2, zset)?;
                // Without a key Redis does not look at the radius.
                if zset.is_some() {
                    query.read_circle(args, 3)?;
                }
            }
            Form::Search => {}
            Form::SearchStore => query.store = Some(1),
        }
        let mut at = form.options();
        while at < args.len() {
            at = match query.read_plain(args, at)? {
                Some(next) => next,
                None if form.is_search() => query.read_search(args, at, form, zset)?,
                None if may_store => query.read_store(args, at)?,
                None => return Err(SYNTAX),
            };
        }
        query.check(&args[0], form)?;
        Ok(query)
    }

    /// The options that every form has; the index behind the one at `at`.
    fn read_plain(&mut self, args: &Args<'_>, at: usize) -> Outcome<Option<usize>> {
        let arg = &args[at];
        if is(arg, "WITHDIST") {
            self.with_distance = true;
        } else if is(arg, "WITHHASH") {
            self.with_hash = true;
        } else if is(arg, "WITHCOORD") {
            self.with_position = true;
        } else if is(arg, "ANY") {
            self.any = true;
        } else if is(arg, "ASC") {
            self.order = Some(Order::Ascending);
        } else if is(arg, "DESC") {
            self.order = Some(Order::Descending);
        } else if is(arg, "COUNT") && at + 1 < args.len() {
            let count = int_or(args, at + 1, NOT_AN_INTEGER)?;
            if count <= 0 {
                return Err(Error::new("ERR COUNT must be > 0"));
            }
            self.count = usize::try_from(count).unwrap_or(usize::MAX);
            return Ok(Some(at + 2));
        } else {
            return Ok(None);
        }
        Ok(Some(at + 1))
    }

    /// STORE and STOREDIST of the older commands; the last one counts.
    fn read_store(&mut self, args: &Args<'_>, at: usize) -> Outcome<usize> {
        self.store_distance = is(&args[at], "STOREDIST");
        if !(self.store_distance || is(&args[at], "STORE")) || at + 1 >= args.len() {
            return Err(SYNTAX);
        }
        self.store = Some(at + 1);
        Ok(at + 2)
    }

    /// The options of GEOSEARCH and GEOSEARCHSTORE.
    fn read_search(
        &mut self,
        args: &Args<'_>,
        at: usize,
        form: Form,
        zset: Option<&ZSet>,
    ) -> Outcome<usize> {
        let given = args.len() - at - 1;
        let option = |name, values| is(&args[at], name) && given >= values;
        if option("STOREDIST", 0) && form == Form::SearchStore {
            self.store_distance = true;
            Ok(at + 1)
        } else if option("FROMMEMBER", 1) && !matches!(self.from, Some(Origin::Here(_))) {
            self.read_member(args, at + 1, zset)?;
            Ok(at + 2)
        } else if option("FROMLONLAT", 2) && !matches!(self.from, Some(Origin::Member(_))) {
            self.from = Some(Origin::Here(position(args, at + 1)?));
            Ok(at + 3)
        } else if option("BYRADIUS", 2) && !matches!(self.shape, Some(Shape::Box(..))) {
            self.read_circle(args, at + 1)?;
            Ok(at + 3)
        } else if option("BYBOX", 3) && !matches!(self.shape, Some(Shape::Circle(_))) {
            self.read_box(args, at + 1)?;
            Ok(at + 4)
        } else {
            Err(SYNTAX)
        }
    }

    fn read_member(&mut self, args: &Args<'_>, at: usize, zset: Option<&ZSet>) -> Outcome {
        let find = |zset| position_of(zset, &args[at]).ok_or(NO_MEMBER);
        self.from = Some(Origin::Member(zset.map(find).transpose()?));
        Ok(())
    }

    fn read_circle(&mut self, args: &Args<'_>, at: usize) -> Outcome {
        let radius = length(args, at, Error::new("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err(Error::new("ERR radius cannot be negative"));
        }
        self.unit = unit(&args[at + 1])?;
        self.shape = Some(Shape::Circle(radius * self.unit));
        Ok(())
    }

    fn read_box(&mut self, args: &Args<'_>, at: usize) -> Outcome {
        let width = length(args, at, Error::new("ERR need numeric width"))?;
        let height = length(args, at + 1, Error::new("ERR need numeric height"))?;
        if width < 0.0 || height < 0.0 {
            return Err(Error::new("ERR height or width cannot be negative"));
        }
        self.unit = unit(&args[at + 2])?;
        self.shape = Some(Shape::Box(width * self.unit, height * self.unit));
        Ok(())
    }

    /// Whether the options fit together; `name` is the command's as the client wrote it.
    fn check(&self, name: &[u8], form: Form) -> Outcome {
        let with = self.with_distance || self.with_hash || self.with_position;
        if self.store.is_some() && with {
            return Err(Error::text(format!(
                "ERR {} is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                match form {
                    Form::SearchStore => "GEOSEARCHSTORE",
                    _ => "STORE option in GEORADIUS",
                }
            )));
        }
        let missing = |what: &str| {
            let mut text = format!("ERR exactly one of {what} can be specified for ").into_bytes();
            text.extend_from_slice(name);
            Err(Error::raw(text))
        };
        if form.is_search() && self.from.is_none() {
            return missing("FROMMEMBER or FROMLONLAT");
        }
        if form.is_search() && self.shape.is_none() {
            return missing("BYRADIUS and BYBOX");
        }
        if self.any && self.count == 0 {
            return Err(Error::new("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// The search, unless the key is not there.
    fn search(&self) -> Option<Search> {
        let center = match self.from? {
            Origin::Here(position) => position,
            Origin::Member(position) => position?,
        };
        Some(Search::new(center, self.shape?))
    }

    /// Everything that is to be returned, in order.
    fn run<'a>(&self, search: &Search, zset: &'a ZSet) -> Found<'a> {
        let enough = if self.any { self.count } else { usize::MAX };
        let mut found = Found::collect(search, zset, enough);
        let hits = &mut found.hits;
        let wanted = match self.count {
            0 => hits.len(),
            count => hits.len().min(count),
        };
        // The nearest are meant unless the client says otherwise.
        let order = match self.order {
            None if self.count > 0 && !self.any => Some(Order::Ascending),
            order => order,
        };
        if let Some(order) = order {
            let compare = |a: &Hit, b: &Hit| match order {
                Order::Ascending => a.distance.total_cmp(&b.distance),
                Order::Descending => b.distance.total_cmp(&a.distance),
            };
            if wanted < hits.len() {
                sort_first(hits, wanted, compare);
            } else {
                hits.sort_by(compare);
            }
        }
        hits.truncate(wanted);
        for hit in hits {
            hit.distance /= self.unit;
        }
        found
    }

    fn reply(&self, out: &mut Reply, found: &Found<'_>) {
        let with = [self.with_distance, self.with_hash, self.with_position];
        let extra = with.into_iter().filter(|&given| given).count();
        let mut scratch = [0; 20];
        out.array(found.hits.len());
        for hit in &found.hits {
            if extra > 0 {
                out.array(1 + extra);
            }
            out.bulk(found.members.name(hit.id, &mut scratch));
            if self.with_distance {
                write_distance(out, hit.distance);
            }
            if self.with_hash {
                out.int(hit.score as i64);
            }
            if self.with_position {
                write_position(out, Position::from_score(hit.score));
            }
        }
    }
}

// ---------------------------------------------------------------- searching

/// A member within the shape.
struct Hit {
    /// Metres from the centre; in the client's unit once the search is done.
    distance: f64,
    score: f64,
    /// Its number in [`Members`].
    id: u32,
}

/// Where the names of members are.
enum Members<'a> {
    /// By position in the dict.
    Table(&'a MemberDict<f64>),
    /// Those found, in the order in which they were.
    Packed(Vec<Item<'a>>),
}

impl Members<'_> {
    fn name<'b>(&'b self, id: u32, scratch: &'b mut [u8; 20]) -> &'b [u8] {
        match self {
            Members::Table(members) => members.at(id as usize).0,
            Members::Packed(items) => items[id as usize].bytes(scratch),
        }
    }
}

/// What a search has found.
struct Found<'a> {
    hits: Vec<Hit>,
    members: Members<'a>,
}

impl<'a> Found<'a> {
    /// The members within the shape, in the order in which they lie in the ranges of scores; no
    /// more than `enough`.
    fn collect(search: &Search, zset: &'a ZSet, enough: usize) -> Found<'a> {
        let mut found = Found {
            hits: Vec::new(),
            members: match zset {
                ZSet::Packed(_) => Members::Packed(Vec::new()),
                ZSet::Table(table) => Members::Table(table.members()),
            },
        };
        for range in search.score_ranges() {
            let start = zset.score_ranks(&ScoreRange {
                min: range.start,
                min_exclusive: false,
                max: range.start,
                max_exclusive: true,
            });
            found.collect_range(search, zset, start.start, range, enough);
            if found.hits.len() >= enough {
                break;
            }
        }
        found
    }

    /// The same for the members from rank `start` on whose scores are in a range.
    fn collect_range(
        &mut self,
        search: &Search,
        zset: &'a ZSet,
        start: usize,
        range: Range<f64>,
        enough: usize,
    ) {
        let within = |score| search.distance(Position::from_score(score));
        match (zset, &mut self.members) {
            (ZSet::Table(table), _) => {
                for (score, id) in table.order().up(start) {
                    if score >= range.end || self.hits.len() >= enough {
                        break;
                    }
                    if let Some(distance) = within(score) {
                        self.hits.push(Hit {
                            distance,
                            score,
                            id,
                        });
                    }
                }
            }
            (ZSet::Packed(_), Members::Packed(items)) => {
                for (member, score) in zset.up(start) {
                    if score >= range.end || self.hits.len() >= enough {
                        break;
                    }
                    if let Some(distance) = within(score) {
                        let id = items.len() as u32;
                        items.push(member);
                        self.hits.push(Hit {
                            distance,
                            score,
                            id,
                        });
                    }
                }
            }
            (ZSet::Packed(_), Members::Table(_)) => {}
        }
    }

    /// A sorted set of what was found, with the distances or the positions as scores.
    fn to_zset(&self, distances: bool, limits: Limits) -> ZSet {
        let mut scratch = [0; 20];
        let lengths = self
            .hits
            .iter()
            .map(|hit| self.members.name(hit.id, &mut scratch).len());
        let longest = lengths.max().unwrap_or(0);
        let mut zset = ZSet::sized(self.hits.len(), longest, limits);
        for hit in &self.hits {
            let score = if distances { hit.distance } else { hit.score };
            zset.set(self.members.name(hit.id, &mut scratch), score, limits);
        }
        zset
    }
}

// ---------------------------------------------------------------- commands

/// Every search; `may_store` allows STORE and STOREDIST.
fn search(c: &mut Ctx<'_>, args: &Args<'_>, form: Form, may_store: bool) -> Outcome {
    let zset = c.db.zset(&args[form.source()])?;
    let query = Query::read(args, form, may_store, zset)?;
    let found = match (zset, query.search()) {
        (Some(zset), Some(search)) => Some(query.run(&search, zset)),
        _ => None,
    };
    let Some(destination) = query.store else {
        match found {
            Some(found) => query.reply(c.out, &found),
            None => c.out.array(0),
        }
        return Ok(());
    };
    let count = found.as_ref().map_or(0, |found| found.hits.len());
    let limits = zsets::limits(c.server);
    let result = found
        .filter(|found| !found.hits.is_empty())
        .map(|found| Value::ZSet(found.to_zset(query.store_distance, limits)));
    let event = match form.is_search() {
        true => "geosearchstore",
        false => "georadiusstore",
    };
    c.db.store(&args[destination], result, Class::ZSet, event);
    // Each member counts as a change; the key itself has been counted.
    c.db.changes += count.saturating_sub(1) as u64;
    c.out.count(count);
    Ok(())
}

fn georadius(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    search(c, args, Form::Around, true)
}

fn georadius_ro(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    search(c, args, Form::Around, false)
}

fn georadiusbymember(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    search(c, args, Form::AroundMember, true)
}

fn georadiusbymember_ro(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    search(c, args, Form::AroundMember, false)
}

fn geosearch(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    search(c, args, Form::Search, false)
}

fn geosearchstore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    search(c, args, Form::SearchStore, false)
}

fn georadius_keys(args: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
    Some(store_keys(args, Form::Around))
}

fn georadiusbymember_keys(args: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
    Some(store_keys(args, Form::AroundMember))
}

/// The key that is searched, the first of STORE and of STOREDIST as the key specifications find
/// them, and the one to which the command really stores: that of the last STORE or STOREDIST.
fn store_keys(args: &Args<'_>, form: Form) -> Vec<(usize, KeyFlags)> {
    let mut keys = vec![(form.source(), RO.or(ACCESS))];
    let mut push = |at: Option<usize>| {
        if let Some(at) = at.filter(|&at| at < args.len())
            && keys.iter().all(|&(known, _)| known != at)
        {
            keys.push((at, OW.or(UPDATE)));
        }
    };
    let options = form.options()..args.len();
    for word in ["STORE", "STOREDIST"] {
        push(
            options
                .clone()
                .find(|&at| is(&args[at], word))
                .map(|at| at + 1),
        );
    }
    let (mut at, mut last) = (options.start, None);
    while at < options.end {
        if is(&args[at], "STORE") || is(&args[at], "STOREDIST") {
            last = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    push(last);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn the_keys_hold_every_key_that_is_touched() {
        for (line, expected) in [
            ("georadius k 0 0 1 m", &[1][..]),
            ("georadius k 0 0 1 m store a", &[1, 7]),
            ("georadius k 0 0 1 m store a STOREDIST b", &[1, 7, 9]),
            ("georadius k 0 0 1 m storedist a store b", &[1, 9, 7]),
            ("georadius k 0 0 1 m store a store b store c", &[1, 7, 11]),
            // A destination called like an option.
            ("georadius k 0 0 1 m store store store c", &[1, 7, 9]),
            ("georadius k 0 0 1 m storedist store", &[1, 7]),
            ("georadius k 0 0 1 m count 1 any store a", &[1, 10]),
            ("georadius k 0 0 1 m store", &[1]),
        ] {
            let mut owned = OwnedArgs::new(line.split(' '));
            let keys = store_keys(&owned.args(), Form::Around);
            let positions: Vec<usize> = keys.iter().map(|key| key.0).collect();
            assert_eq!(positions, expected, "{line}");
        }
    }
}
