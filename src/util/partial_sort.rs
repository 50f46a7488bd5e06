//! Sorting only as far as is asked for, in the order in which Redis leaves equal elements.
//!
//! `GEORADIUS … COUNT` returns the nearest few of many members. Redis sorts those with the quicksort
//! of Bentley and McIlroy, "Engineering a Sort Function" (1993), and leaves out the parts in which
//! nothing that is wanted can be. That sort is not stable, and which of several members at the same
//! distance come first is its doing; so this one takes the same steps.

use std::cmp::Ordering::{self, Equal, Greater, Less};

/// Brings the first `wanted` elements of the sorted order to the front, sorted.
pub fn sort_first<T>(items: &mut [T], wanted: usize, mut compare: impl FnMut(&T, &T) -> Ordering) {
    // Deep enough for any input that was not made to be sorted slowly.
    let levels = 4 * (usize::BITS - items.len().leading_zeros());
    let mut parts = vec![(0, items.len(), levels)];
    while let Some((start, end, levels)) = parts.pop() {
        if start >= wanted {
            continue;
        }
        let part = &mut items[start..end];
        if part.len() < 7 {
            insertion_sort(part, &mut compare);
        } else if levels == 0 {
            part.sort_by(&mut compare);
        } else {
            let pivot = pivot(part, &mut compare);
            part.swap(0, pivot);
            let (below, above) = split(part, &mut compare);
            parts.push((end - above, end, levels - 1));
            parts.push((start, start + below, levels - 1));
        }
    }
}

fn insertion_sort<T>(part: &mut [T], compare: &mut impl FnMut(&T, &T) -> Ordering) {
    for next in 1..part.len() {
        let mut at = next;
        while at > 0 && compare(&part[at - 1], &part[at]) == Greater {
            part.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Where the element is by which to split a part of seven elements or more: the one in the middle,
/// the median of three, or that of three medians of three.
fn pivot<T>(part: &[T], compare: &mut impl FnMut(&T, &T) -> Ordering) -> usize {
    let len = part.len();
    let mut median = |a: usize, b: usize, c: usize| {
        let mut is = |x: usize, order, y: usize| compare(&part[x], &part[y]) == order;
        if is(a, Less, b) {
            if is(b, Less, c) {
                b
            } else if is(a, Less, c) {
                c
            } else {
                a
            }
        } else if is(b, Greater, c) {
            b
        } else if is(a, Less, c) {
            a
        } else {
            c
        }
    };
    let (mut first, mut middle, mut last) = (0, len / 2, len - 1);
    if len == 7 {
        return middle;
    }
    if len > 40 {
        let step = len / 8;
        first = median(first, first + step, first + 2 * step);
        middle = median(middle - step, middle, middle + step);
        last = median(last - 2 * step, last - step, last);
    }
    median(first, middle, last)
}

/// Moves what is less than the first element to the front, what is greater to the end, and what is
/// equal in between. Returns how many are less and how many are greater.
fn split<T>(part: &mut [T], compare: &mut impl FnMut(&T, &T) -> Ordering) -> (usize, usize) {
    let len = part.len();
    // Equal elements are gathered at both ends: those before `equal_low` and behind `equal_high`.
    let (mut equal_low, mut low) = (1, 1);
    let (mut equal_high, mut high) = (len - 1, len - 1);
    loop {
        while low <= high {
            match compare(&part[low], &part[0]) {
                Greater => break,
                Equal => {
                    part.swap(equal_low, low);
                    equal_low += 1;
                }
                Less => {}
            }
            low += 1;
        }
        while low <= high {
            match compare(&part[high], &part[0]) {
                Less => break,
                Equal => {
                    part.swap(high, equal_high);
                    equal_high -= 1;
                }
                Greater => {}
            }
            high -= 1;
        }
        if low > high {
            break;
        }
        part.swap(low, high);
        low += 1;
        high -= 1;
    }
    let mut exchange = |a: usize, b: usize, count: usize| {
        for i in 0..count {
            part.swap(a + i, b + i);
        }
    };
    let (below, above) = (low - equal_low, equal_high - high);
    let count = equal_low.min(below);
    exchange(0, low - count, count);
    let count = above.min(len - equal_high - 1);
    exchange(low, len - count, count);
    (below, above)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;

    #[test]
    fn the_front_is_sorted() {
        let mut rng = Rng::new([7, 1]);
        for _ in 0..3000 {
            let len = rng.below(300) as usize;
            let values = 1 + rng.below(400);
            let items: Vec<u64> = (0..len).map(|_| rng.below(values)).collect();
            let mut sorted = items.clone();
            sorted.sort_unstable();
            let wanted = rng.below(len as u64 + 2) as usize;
            let mut mine = items;
            sort_first(&mut mine, wanted, u64::cmp);
            let front = wanted.min(len);
            assert_eq!(mine[..front], sorted[..front]);
            mine.sort_unstable();
            assert_eq!(mine, sorted, "nothing is lost");
        }
    }

    #[test]
    fn input_made_to_be_slow_is_sorted_all_the_same() {
        // McIlroy's adversary: it decides the values while they are compared.
        let len = 20_000;
        let values = std::cell::RefCell::new(vec![usize::MAX; len]);
        let (mut solid, mut candidate, mut comparisons) = (0, 0, 0u64);
        let mut items: Vec<usize> = (0..len).collect();
        sort_first(&mut items, len, |&a, &b| {
            comparisons += 1;
            let mut values = values.borrow_mut();
            if values[a] == usize::MAX && values[b] == usize::MAX {
                let frozen = if a == candidate { a } else { b };
                values[frozen] = solid;
                solid += 1;
            }
            if values[a] == usize::MAX {
                candidate = a;
            } else if values[b] == usize::MAX {
                candidate = b;
            }
            values[a].cmp(&values[b])
        });
        assert!(comparisons < 5_000_000, "{comparisons}");
    }
}
