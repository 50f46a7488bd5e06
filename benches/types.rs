//! The types of the collections, each on its own: `cargo bench --bench types`.
//!
//! | group | what it measures |
//! | --- | --- |
//! | `listpack` | a packed collection of 128 elements |
//! | `intset` | sets of 512 and 100,000 integers |
//! | `quicklist` | lists of 100,000 elements |
//! | `sorted table` | the tree and the index of a sorted set of 1,000,000 members |
//! | `geohash` | what a search does for each member that it looks at |
//!
//! `cargo bench --bench types -- --test` runs everything once. Whole commands beside redis-server
//! are the business of the script `collections`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_main};
use stdis::types::geohash::{Position, Search, Shape};
use stdis::types::intset::IntSet;
use stdis::types::listpack::{Item, Listpack};
use stdis::types::quicklist::{End, Limits, List};
use stdis::types::sorted_table::SortedTable;
use stdis::util::random::Rng;

/// Elements of a packed collection, as many as the configuration allows.
const PACKED: usize = 128;
/// Elements of a list.
const ELEMENTS: usize = 100_000;
/// Members of a sorted set.
const MEMBERS: usize = 1_000_000;

fn member(number: usize) -> Vec<u8> {
    format!("member:{number:07}").into_bytes()
}

/// A generator that repeats itself from run to run.
fn order() -> Rng {
    Rng::new([1, 2])
}

fn listpack(criterion: &mut Criterion) {
    let texts: Vec<Vec<u8>> = (0..PACKED).map(member).collect();
    let items = || texts.iter().map(|text| Item::of(text));
    let packed = Listpack::from_items(items());
    let mut rng = order();
    let mut group = criterion.benchmark_group("listpack");
    group.bench_function("find, text there", |b| {
        b.iter(|| packed.find_first(black_box(&texts[rng.index(PACKED)]), 0))
    });
    group.bench_function("find, text not there", |b| {
        b.iter(|| packed.find_first(black_box(b"member:9999999"), 0))
    });
    group.bench_function("get by index", |b| {
        b.iter(|| packed.get(rng.index(PACKED) as i64).map(Item::text_len))
    });
    group.bench_function("insert and delete in the middle", |b| {
        let mut packed = packed.clone();
        b.iter(|| {
            let middle = packed.seek(PACKED as i64 / 2).expect("an element");
            let at = packed.insert_before(middle, Item::of(b"one more"));
            packed.delete(at)
        })
    });
    group.throughput(Throughput::Elements(PACKED as u64));
    group.bench_function("iterate", |b| {
        b.iter(|| packed.iter().map(Item::text_len).sum::<usize>())
    });
    group.bench_function("push from empty", |b| {
        b.iter(|| {
            let mut packed = Listpack::new();
            items().for_each(|item| packed.push_back(item));
            packed
        })
    });
    group.bench_function("make of items", |b| {
        b.iter(|| Listpack::from_items(items()))
    });
    group.finish();
}

fn intset(criterion: &mut Criterion) {
    let mut rng = order();
    let mut group = criterion.benchmark_group("intset");
    for len in [512, ELEMENTS] {
        let mut set = IntSet::from_values((0..len as i64).map(|value| value * 2).collect());
        group.bench_function(format!("contains, {len}"), |b| {
            b.iter(|| set.contains(black_box(rng.index(2 * len) as i64)))
        });
        group.bench_function(format!("add and remove, {len}"), |b| {
            b.iter(|| {
                let odd = rng.index(len) as i64 * 2 + 1;
                (set.add(odd), set.remove(odd))
            })
        });
        group.throughput(Throughput::Elements(len as u64));
        group.bench_function(format!("iterate, {len}"), |b| {
            b.iter(|| {
                set.iter()
                    .fold(0, |sum: i64, value| sum.wrapping_add(value))
            })
        });
    }
    group.finish();
}

/// A list of elements of 14 bytes.
fn list(limits: &Limits) -> List {
    let mut list = List::new();
    for number in 0..ELEMENTS {
        list.push(End::Tail, &member(number), limits);
    }
    list
}

fn quicklist(criterion: &mut Criterion) {
    let limits = Limits::new(-2, 0, 1 << 30);
    let mut full = list(&limits);
    let mut rng = order();
    let mut group = criterion.benchmark_group("quicklist");
    group.bench_function("push and pop at the tail", |b| {
        b.iter(|| {
            full.push(End::Tail, b"one more", &limits);
            full.pop(End::Tail, &limits, |item| item.text_len())
        })
    });
    group.bench_function("push at the head, pop at the tail", |b| {
        b.iter(|| {
            full.push(End::Head, b"one more", &limits);
            full.pop(End::Tail, &limits, |item| item.text_len())
        })
    });
    group.bench_function("get by index", |b| {
        b.iter(|| full.get(rng.index(ELEMENTS) as i64, |item| item.text_len()))
    });
    group.bench_function("set by index", |b| {
        b.iter(|| full.set(rng.index(ELEMENTS) as i64, b"member:changed", &limits))
    });
    group.bench_function("walk over 100 in the middle", |b| {
        b.iter(|| {
            let mut sum = 0;
            full.walk(ELEMENTS / 2, 100, false)
                .for_each(|item| sum += item.text_len());
            sum
        })
    });
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    group.bench_function("walk over all", |b| {
        b.iter(|| {
            let mut sum = 0;
            full.iter().for_each(|item| sum += item.text_len());
            sum
        })
    });
    group.bench_function("push from empty", |b| b.iter(|| list(&limits)));
    group.finish();
}

fn sorted_table(criterion: &mut Criterion) {
    let mut rng = order();
    let mut score = move || rng.below(10_000_000) as f64;
    let mut table = SortedTable::new();
    for number in 0..MEMBERS {
        table.set(&member(number), score());
    }
    // Made beforehand, so that no bench measures the making of text.
    let mut rng = Rng::new([3, 4]);
    let names: Vec<Vec<u8>> = (0..4096).map(|_| member(rng.index(MEMBERS))).collect();
    let mut name = 0;
    let mut next = move || {
        name = (name + 1) % names.len();
        names[name].clone()
    };
    let mut group = criterion.benchmark_group("sorted table");
    group.bench_function("set another score", |b| {
        b.iter(|| table.set(&next(), score()))
    });
    group.bench_function("score", |b| b.iter(|| table.score(&next())));
    group.bench_function("rank", |b| b.iter(|| table.rank(&next())));
    group.bench_function("remove and set", |b| {
        b.iter(|| {
            let name = next();
            table.remove(&name);
            table.set(&name, score())
        })
    });
    group.bench_function("10 members from a score on", |b| {
        b.iter(|| {
            let start = table.count_below(score(), false);
            let members = table.up(start).take(10);
            members.map(|(member, _)| member.len()).sum::<usize>()
        })
    });
    group.bench_function("at a rank", |b| b.iter(|| table.at(rng.index(MEMBERS)).1));
    group.throughput(Throughput::Elements(MEMBERS as u64));
    group.sample_size(10);
    group.bench_function("walk over the scores of all", |b| {
        b.iter(|| table.order().up(0).map(|(score, _)| score).sum::<f64>())
    });
    group.finish();
}

fn geohash(criterion: &mut Criterion) {
    let mut rng = order();
    let scores: Vec<f64> = (0..4096)
        .filter_map(|_| Position::new(rng.unit_f64() * 40.0, rng.unit_f64() * 40.0))
        .map(|position| position.score() as f64)
        .collect();
    let Some(center) = Position::new(20.0, 20.0) else {
        return;
    };
    let mut next = 0;
    let mut score = move || {
        next = (next + 1) % scores.len();
        scores[next]
    };
    let mut group = criterion.benchmark_group("geohash");
    group.bench_function("encode", |b| b.iter(|| black_box(center).score()));
    group.bench_function("decode", |b| b.iter(|| Position::from_score(score())));
    let shapes = [
        ("circle", Shape::Circle(1_500_000.0)),
        ("box", Shape::Box(3_000_000.0, 3_000_000.0)),
    ];
    for (name, shape) in shapes {
        let search = Search::new(center, shape);
        group.bench_function(format!("measure, {name}"), |b| {
            b.iter(|| search.distance(Position::from_score(score())))
        });
        group.bench_function(format!("cells, {name}"), |b| {
            b.iter(|| black_box(&search).score_ranges().len())
        });
    }
    group.finish();
}

/// The function that the macro makes is public and has no place for a comment.
#[allow(missing_docs)]
mod all {
    use super::{geohash, intset, listpack, quicklist, sorted_table};
    criterion::criterion_group!(benches, listpack, intset, quicklist, sorted_table, geohash);
}
criterion_main!(all::benches);
