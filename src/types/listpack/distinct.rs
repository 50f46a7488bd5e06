//! Whether the elements of a packed collection are all different, which must hold before it may be
//! trusted.

use super::Item;
use crate::types::member_dict::hash_of;

/// Up to so many elements each is compared with each.
const FEW: usize = 8;

/// Whether no two items have the same text.
pub(in crate::types) fn distinct<'a>(items: impl Iterator<Item = Item<'a>> + Clone) -> bool {
    let mut rest = items.clone();
    if items.clone().take(FEW + 1).count() <= FEW {
        while let Some(item) = rest.next() {
            if rest.clone().any(|other| same(item, other)) {
                return false;
            }
        }
        return true;
    }
    let mut scratch = [0; 20];
    let mut hashed: Vec<(u64, Item<'a>)> = items
        .map(|item| (hash_of(item.bytes(&mut scratch)), item))
        .collect();
    hashed.sort_unstable_by_key(|(hash, _)| *hash);
    // Equal hashes without equal texts are very rare, so that runs of them stay short.
    hashed
        .chunk_by(|a, b| a.0 == b.0)
        .all(|run| (1..run.len()).all(|at| run[..at].iter().all(|one| !same(one.1, run[at].1))))
}

fn same(a: Item<'_>, b: Item<'_>) -> bool {
    match (a, b) {
        (Item::Int(a), Item::Int(b)) => a == b,
        (Item::Bytes(text), item) | (item, Item::Bytes(text)) => item.is(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_found() {
        let names: Vec<String> = (0..300).map(|n| format!("n{n}")).collect();
        let items = |count: usize| names[..count].iter().map(|n| Item::of(n.as_bytes()));
        for count in [0, 1, 2, 8, 9, 300] {
            assert!(distinct(items(count)), "{count}");
        }
        for count in [1, 2, 7, 8, 9, 300] {
            for twice in [0, count / 2, count - 1] {
                let again = Item::of(names[twice].as_bytes());
                assert!(!distinct(items(count).chain([again])), "{count} {twice}");
            }
        }
        // The same text in two forms.
        let ints = (0..20).map(Item::Int);
        assert!(distinct(ints.clone()));
        assert!(!distinct(ints.chain([Item::Bytes(b"7")])));
        assert!(!distinct([Item::Bytes(b"7"), Item::Int(7)].into_iter()));
    }
}
