//! Integer sets against bytes that Redis wrote, against a `BTreeSet`, and against corruption.

use super::*;
use std::collections::BTreeSet;

#[test]
fn the_bytes_are_those_of_redis() {
    // What DUMP shows after each step in Redis 7.0.15.
    let mut set = IntSet::new();
    for value in [3, 1, -5] {
        assert!(set.add(value));
    }
    let narrow = [2, 0, 0, 0, 3, 0, 0, 0, 0xfb, 0xff, 1, 0, 3, 0];
    assert_eq!(set.as_bytes(), narrow);
    assert!(set.add(70_000));
    let middle = [
        4, 0, 0, 0, 4, 0, 0, 0, 0xfb, 0xff, 0xff, 0xff, 1, 0, 0, 0, 3, 0, 0, 0, 0x70, 0x11, 1, 0,
    ];
    assert_eq!(set.as_bytes(), middle);
    assert!(set.add(-5_000_000_000));
    let wide = [
        &[8, 0, 0, 0, 5, 0, 0, 0][..],
        &[0, 0x0e, 0xfa, 0xd5, 0xfe, 0xff, 0xff, 0xff],
        &[0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[0x70, 0x11, 1, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(set.as_bytes(), wide);
    assert_eq!(IntSet::from_bytes(wide), Ok(set.clone()));
    assert_eq!(IntSet::from_values(set.iter().rev().collect()), set);
}

#[test]
fn changes_match_a_tree() {
    let mut rng = Rng::new([5, 6]);
    for round in 0..60 {
        let mut set = IntSet::new();
        let mut model = BTreeSet::new();
        let widest = [6, 20, 40, 64][round % 4];
        for _ in 0..300 {
            let shift = 64 - 1 - rng.below(widest);
            let value = rng.next_u64() as i64 >> shift;
            if rng.below(3) > 0 {
                assert_eq!(set.add(value), model.insert(value));
            } else {
                assert_eq!(set.remove(value), model.remove(&value));
            }
            assert_eq!(set.contains(value), model.contains(&value));
            assert_eq!(set.len(), model.len());
        }
        assert!(set.iter().eq(model.iter().copied()));
        assert!(set.iter().rev().eq(model.iter().rev().copied()));
        assert_eq!(set.min(), model.first().copied());
        assert_eq!(set.max(), model.last().copied());
        let drawn = set.random(&mut rng);
        assert_eq!(drawn.is_some(), !model.is_empty());
        assert!(drawn.is_none_or(|value| model.contains(&value)));
        if !model.is_empty() {
            assert_eq!(IntSet::from_bytes(set.as_bytes()), Ok(set.clone()));
        }
    }
}

#[test]
fn the_extremes_fit() {
    let mut set = IntSet::new();
    for value in [i64::MAX, i64::MIN, 0, i64::MAX, -32_769, 32_768] {
        set.add(value);
    }
    let sorted = [i64::MIN, -32_769, 0, 32_768, i64::MAX];
    assert!(set.iter().eq(sorted));
    assert!(!set.contains(1) && !set.remove(1));
    for value in sorted {
        assert!(set.remove(value));
    }
    assert_eq!((set.len(), set.width(), set.min()), (0, 8, None));
}

#[test]
fn corrupt_bytes_are_refused() {
    let good = IntSet::from_values(vec![1, 2, 70_000]);
    let good = good.as_bytes();
    for len in 0..good.len() {
        assert_eq!(IntSet::from_bytes(&good[..len]), Err(Corrupt));
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        IntSet::from_bytes(bytes)
    };
    assert!(with(0, 4).is_ok());
    for (at, byte) in [
        (0, 3),    // no such width
        (0, 2),    // another width than the size says
        (1, 1),    // a width of 260
        (4, 2),    // fewer than there are
        (7, 0x40), // a count whose size would wrap around
        (8, 2),    // twice the same
        (8, 3),    // out of order
    ] {
        assert_eq!(with(at, byte), Err(Corrupt), "{at} {byte}");
    }
    assert_eq!(IntSet::from_bytes([2, 0, 0, 0, 0, 0, 0, 0]), Err(Corrupt));
}

#[test]
fn whatever_is_taken_can_be_used() {
    let mut rng = Rng::new([9, 10]);
    let sets = [
        vec![-3, 0, 1, 2, 500],
        vec![1, 2, 70_000],
        vec![i64::MIN, -1, i64::MAX],
        vec![7],
    ];
    let mut taken = 0;
    for values in sets {
        let good = IntSet::from_values(values);
        let good = good.as_bytes();
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bytes = good.to_vec();
                bytes[at] = byte;
                let Ok(mut set) = IntSet::from_bytes(bytes) else {
                    continue;
                };
                taken += 1;
                let mut model: BTreeSet<i64> = set.iter().collect();
                assert_eq!(model.len(), set.len());
                for _ in 0..6 {
                    let value = rng.next_u64() as i64 >> rng.below(64);
                    assert_eq!(set.contains(value), model.contains(&value));
                    assert_eq!(set.add(value), model.insert(value));
                }
                for value in model.clone().into_iter().step_by(2) {
                    assert!(set.remove(value) && model.remove(&value));
                }
                assert!(set.iter().eq(model.iter().copied()));
                assert!(
                    set.random(&mut rng)
                        .is_none_or(|value| model.contains(&value))
                );
            }
        }
    }
    assert!(taken > 5000, "{taken}");
}
