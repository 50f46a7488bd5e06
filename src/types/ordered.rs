//! The ordered structure of a large sorted set: a counted B+-tree of scores.
//!
//! Redis keeps a skiplist whose nodes hold score, member and spans. Here a leaf holds up to
//! `LEAF` pairs of a score and a *slot*: the member's position in the dict that the sorted set
//! has anyway, so no member is stored twice and a pair takes 12 bytes. Where scores are equal the
//! order is that of the members, and whoever searches looks them up by slot ([`Names`]).
//!
//! Inner nodes hold for each child the number of pairs below it and the first of them. The tree
//! itself is a sequence: it inserts, removes and reads *by rank*, and one search
//! ([`Ordered::rank_where`]) turns any condition that holds for a prefix of the order (a score, a
//! member, a bound) into a rank. So there is one way to descend for each, and no rule about
//! equal scores is needed anywhere but in the search.

/// Pairs of a full leaf.
const LEAF: usize = 64;
/// Children of a full inner node.
const FANOUT: usize = 64;
/// A node with fewer pairs or children than this is merged with a neighbour if both fit into one
/// with room to spare.
const SPARSE: usize = 20;
/// The most that a merged node holds.
const MERGED: usize = 48;

/// Where the members of slots are found.
pub trait Names {
    /// The member in `slot`.
    fn name(&self, slot: u32) -> &[u8];
}

/// A sequence of (score, slot) in the order of scores and members.
#[derive(Clone)]
pub struct Ordered {
    root: Node,
    len: usize,
}

#[derive(Clone)]
enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

#[derive(Clone)]
struct Leaf {
    len: usize,
    scores: [f64; LEAF],
    slots: [u32; LEAF],
}

#[derive(Clone)]
struct Inner {
    len: usize,
    /// Number of pairs below each child.
    counts: [u32; FANOUT],
    /// The first pair below each child.
    scores: [f64; FANOUT],
    slots: [u32; FANOUT],
    children: Vec<Node>,
}

/// Makes room at `at` in the first `len` elements of an array and puts `item` there.
fn put<T: Copy, const N: usize>(array: &mut [T; N], len: usize, at: usize, item: T) {
    array.copy_within(at..len, at + 1);
    array[at] = item;
}

impl Leaf {
    fn new() -> Box<Leaf> {
        Box::new(Leaf {
            len: 0,
            scores: [0.0; LEAF],
            slots: [0; LEAF],
        })
    }

    fn insert(&mut self, at: usize, score: f64, slot: u32) {
        put(&mut self.scores, self.len, at, score);
        put(&mut self.slots, self.len, at, slot);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) -> (f64, u32) {
        let pair = (self.scores[at], self.slots[at]);
        self.scores.copy_within(at + 1..self.len, at);
        self.slots.copy_within(at + 1..self.len, at);
        self.len -= 1;
        pair
    }

    /// Moves what is at `at` and behind into a new leaf.
    fn split_off(&mut self, at: usize) -> Box<Leaf> {
        let mut right = Leaf::new();
        right.append(self, at);
        self.len = at;
        right
    }

    /// Adds the pairs of another leaf from `from` on.
    fn append(&mut self, other: &Leaf, from: usize) {
        let (to, more) = (self.len, other.len - from);
        self.scores[to..to + more].copy_from_slice(&other.scores[from..other.len]);
        self.slots[to..to + more].copy_from_slice(&other.slots[from..other.len]);
        self.len += more;
    }
}

impl Inner {
    fn new() -> Box<Inner> {
        Box::new(Inner {
            len: 0,
            counts: [0; FANOUT],
            scores: [0.0; FANOUT],
            slots: [0; FANOUT],
            children: Vec::with_capacity(FANOUT),
        })
    }

    /// The child that holds `rank`, and the rank within it. A rank at an edge belongs to the left
    /// child when `left`, as an insertion wants it.
    #[inline]
    fn locate(&self, mut rank: usize, left: bool) -> (usize, usize) {
        let last = self.len - 1;
        for (child, &count) in self.counts[..last].iter().enumerate() {
            let count = count as usize;
            if rank < count || (left && rank == count) {
                return (child, rank);
            }
            rank -= count;
        }
        (last, rank)
    }

    fn insert(&mut self, at: usize, child: Node) {
        put(&mut self.counts, self.len, at, 0);
        put(&mut self.scores, self.len, at, 0.0);
        put(&mut self.slots, self.len, at, 0);
        self.children.insert(at, child);
        self.len += 1;
        self.refresh(at);
    }

    fn remove(&mut self, at: usize) -> Node {
        self.counts.copy_within(at + 1..self.len, at);
        self.scores.copy_within(at + 1..self.len, at);
        self.slots.copy_within(at + 1..self.len, at);
        self.len -= 1;
        self.children.remove(at)
    }

    /// Takes note of what has changed in a child.
    fn refresh(&mut self, at: usize) {
        let child = &self.children[at];
        let (count, (score, slot)) = (child.pairs(), child.first());
        self.counts[at] = count as u32;
        self.scores[at] = score;
        self.slots[at] = slot;
    }

    fn split_off(&mut self, at: usize) -> Box<Inner> {
        let mut right = Inner::new();
        right.append(self, at);
        self.len = at;
        right
    }

    /// Moves the children of another node from `from` on to the end of this one.
    fn append(&mut self, other: &mut Inner, from: usize) {
        let (to, more) = (self.len, other.len - from);
        self.counts[to..to + more].copy_from_slice(&other.counts[from..other.len]);
        self.scores[to..to + more].copy_from_slice(&other.scores[from..other.len]);
        self.slots[to..to + more].copy_from_slice(&other.slots[from..other.len]);
        self.children.extend(other.children.drain(from..));
        self.len += more;
        other.len = from;
    }

    /// Merges a sparse child with a neighbour, or drops it when it is empty.
    fn tend(&mut self, at: usize) {
        let size = self.children[at].size();
        if size == 0 {
            self.remove(at);
            return;
        }
        self.refresh(at);
        if size >= SPARSE {
            return;
        }
        let fits = |left: usize, right: usize| {
            self.children[left].size() + self.children[right].size() <= MERGED
        };
        let left = if at > 0 && fits(at - 1, at) {
            at - 1
        } else if at + 1 < self.len && fits(at, at + 1) {
            at
        } else {
            return;
        };
        match (&mut self.children[left..=left + 1], left + 1) {
            ([Node::Leaf(first), Node::Leaf(second)], _) => first.append(second, 0),
            ([Node::Inner(first), Node::Inner(second)], _) => first.append(second, 0),
            _ => unreachable!("all leaves are on one level"),
        }
        self.remove(left + 1);
        self.refresh(left);
    }
}

impl Node {
    /// Pairs of a leaf, children of an inner node.
    fn size(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len,
            Node::Inner(inner) => inner.len,
        }
    }

    /// Number of pairs below.
    fn pairs(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len,
            Node::Inner(inner) => inner.counts[..inner.len].iter().map(|&c| c as usize).sum(),
        }
    }

    /// The first pair of a node that is not empty.
    fn first(&self) -> (f64, u32) {
        match self {
            Node::Leaf(leaf) => (leaf.scores[0], leaf.slots[0]),
            Node::Inner(inner) => (inner.scores[0], inner.slots[0]),
        }
    }

    /// Inserts a pair; a node that had to be split returns its right half.
    fn insert(&mut self, rank: usize, score: f64, slot: u32) -> Option<Node> {
        match self {
            Node::Leaf(leaf) if leaf.len < LEAF => {
                leaf.insert(rank, score, slot);
                None
            }
            Node::Leaf(leaf) => {
                let mut right = leaf.split_off(cut(rank, LEAF));
                if rank > leaf.len || leaf.len == LEAF {
                    right.insert(rank - leaf.len, score, slot);
                } else {
                    leaf.insert(rank, score, slot);
                }
                Some(Node::Leaf(right))
            }
            Node::Inner(inner) => {
                let (child, rank) = inner.locate(rank, true);
                let half = inner.children[child].insert(rank, score, slot);
                inner.refresh(child);
                let half = half?;
                let at = child + 1;
                if inner.len < FANOUT {
                    inner.insert(at, half);
                    return None;
                }
                let mut right = inner.split_off(cut(at, FANOUT));
                if at > inner.len || inner.len == FANOUT {
                    right.insert(at - inner.len, half);
                } else {
                    inner.insert(at, half);
                }
                Some(Node::Inner(right))
            }
        }
    }

    fn remove(&mut self, rank: usize) -> (f64, u32) {
        match self {
            Node::Leaf(leaf) => leaf.remove(rank),
            Node::Inner(inner) => {
                let (child, rank) = inner.locate(rank, false);
                let pair = inner.children[child].remove(rank);
                inner.tend(child);
                pair
            }
        }
    }

    /// Replaces the pair at `rank`, which must not change the order.
    fn replace(&mut self, rank: usize, score: f64, slot: u32) {
        match self {
            Node::Leaf(leaf) => (leaf.scores[rank], leaf.slots[rank]) = (score, slot),
            Node::Inner(inner) => {
                let (child, rank) = inner.locate(rank, false);
                inner.children[child].replace(rank, score, slot);
                if rank == 0 {
                    (inner.scores[child], inner.slots[child]) = (score, slot);
                }
            }
        }
    }

    /// Changes the slot of the last pair for which `upto` holds from `old` to `new`.
    fn rename(&mut self, upto: &impl Fn(f64, u32) -> bool, old: u32, new: u32) {
        match self {
            Node::Leaf(leaf) => {
                // Looking through the slots waits for less memory than a search by score.
                let mut slots = leaf.slots[..leaf.len].iter_mut();
                if let Some(slot) = slots.find(|slot| **slot == old) {
                    *slot = new;
                } else {
                    debug_assert!(false, "the pair is in another leaf");
                }
            }
            Node::Inner(inner) => {
                let child = partition(inner.len - 1, |i| {
                    upto(inner.scores[i + 1], inner.slots[i + 1])
                });
                inner.children[child].rename(upto, old, new);
                if inner.slots[child] == old {
                    inner.slots[child] = new;
                }
            }
        }
    }

    fn memory(&self) -> usize {
        match self {
            Node::Leaf(_) => size_of::<Leaf>(),
            Node::Inner(inner) => {
                let own = size_of::<Inner>() + inner.children.capacity() * size_of::<Node>();
                // Leaves are all of one size.
                match &inner.children[0] {
                    Node::Leaf(_) => own + inner.len * size_of::<Leaf>(),
                    Node::Inner(_) => own + inner.children.iter().map(Node::memory).sum::<usize>(),
                }
            }
        }
    }
}

/// Where to split a full node when something is to be inserted at `at`: in the middle, but past
/// the end (or before the start) when that is where it goes, so that nodes filled in order are full.
fn cut(at: usize, full: usize) -> usize {
    match at {
        0 => 1,
        _ if at >= full => full,
        _ => full / 2,
    }
}

impl Default for Ordered {
    fn default() -> Ordered {
        Ordered::new()
    }
}

impl Ordered {
    /// An empty sequence.
    pub fn new() -> Ordered {
        Ordered {
            root: Node::Leaf(Leaf::new()),
            len: 0,
        }
    }

    /// The sequence of these pairs, which are in order already.
    pub fn from_sorted(pairs: &[(f64, u32)]) -> Ordered {
        let mut level: Vec<Node> = Vec::with_capacity(pairs.len().div_ceil(LEAF));
        for pairs in pairs.chunks(LEAF) {
            let mut leaf = Leaf::new();
            for &(score, slot) in pairs {
                leaf.insert(leaf.len, score, slot);
            }
            level.push(Node::Leaf(leaf));
        }
        while level.len() > 1 {
            let mut below = level.into_iter();
            level = Vec::with_capacity(below.len().div_ceil(FANOUT));
            while below.len() > 0 {
                let mut inner = Inner::new();
                for child in below.by_ref().take(FANOUT) {
                    inner.insert(inner.len, child);
                }
                level.push(Node::Inner(inner));
            }
        }
        Ordered {
            root: level.pop().unwrap_or_else(|| Node::Leaf(Leaf::new())),
            len: pairs.len(),
        }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of pairs for which `before` holds; it must hold for a prefix of the order.
    #[inline]
    pub fn rank_where(&self, before: impl Fn(f64, u32) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => {
                    return rank + partition(leaf.len, |i| before(leaf.scores[i], leaf.slots[i]));
                }
                Node::Inner(inner) => {
                    // The last child whose first pair is still before; the first one if there is
                    // none.
                    let child = partition(inner.len - 1, |i| {
                        before(inner.scores[i + 1], inner.slots[i + 1])
                    });
                    rank += inner.counts[..child].iter().sum::<u32>() as usize;
                    node = &inner.children[child];
                }
            }
        }
    }

    /// The number of pairs that come before this score and member: its rank, if it is there.
    #[inline]
    pub fn rank_of(&self, score: f64, member: &[u8], names: &impl Names) -> usize {
        self.rank_where(|s, slot| s < score || (s == score && names.name(slot) < member))
    }

    /// The pair at `rank`.
    ///
    /// # Panics
    /// When there is none.
    pub fn at(&self, rank: usize) -> (f64, u32) {
        let (leaf, within) = self.leaf(rank);
        (leaf.scores[within], leaf.slots[within])
    }

    /// Inserts a pair before the one at `rank`, or at the end.
    pub fn insert(&mut self, rank: usize, score: f64, slot: u32) {
        debug_assert!(rank <= self.len);
        if let Some(right) = self.root.insert(rank, score, slot) {
            let left = std::mem::replace(&mut self.root, Node::Inner(Inner::new()));
            if let Node::Inner(root) = &mut self.root {
                root.insert(0, left);
                root.insert(1, right);
            }
        }
        self.len += 1;
    }

    /// Removes the pair at `rank` and returns it.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&mut self, rank: usize) -> (f64, u32) {
        let pair = self.root.remove(rank);
        self.len -= 1;
        while let Node::Inner(root) = &mut self.root {
            match root.len {
                0 => self.root = Node::Leaf(Leaf::new()),
                1 => self.root = root.remove(0),
                _ => break,
            }
        }
        pair
    }

    /// Tells the pair of this score and slot, which is in the sequence, that its member moves to
    /// another slot; one descent, without a rank.
    pub fn rename(&mut self, score: f64, old: u32, new: u32, names: &impl Names) {
        let member = names.name(old);
        let upto = |s, slot| s < score || (s == score && names.name(slot) <= member);
        self.root.rename(&upto, old, new);
    }

    /// Replaces the pair at `rank`, which must not change the order.
    ///
    /// # Panics
    /// When there is none.
    pub fn replace(&mut self, rank: usize, score: f64, slot: u32) {
        self.root.replace(rank, score, slot);
    }

    /// The pairs from `rank` upwards.
    pub fn up(&self, rank: usize) -> Up<'_> {
        Up {
            tree: self,
            rank,
            leaf: None,
        }
    }

    /// The `count` pairs below `rank`, downwards: the first is the one at `rank - 1`.
    pub fn down(&self, rank: usize) -> Down<'_> {
        Down {
            tree: self,
            rank: rank.min(self.len),
            leaf: None,
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.root.memory()
    }

    /// The leaf with `rank`, and the rank within it.
    fn leaf(&self, mut rank: usize) -> (&Leaf, usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, rank),
                Node::Inner(inner) => {
                    let child;
                    (child, rank) = inner.locate(rank, false);
                    node = &inner.children[child];
                }
            }
        }
    }
}

/// The number of indexes below `len` for which `before` holds, which are the first ones.
#[inline]
fn partition(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = (low + high) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Pairs in order; see [`Ordered::up`].
pub struct Up<'a> {
    tree: &'a Ordered,
    rank: usize,
    /// The leaf at hand, and the index in it of `rank`. At its end the next one is found by rank:
    /// one descent for dozens of pairs costs less than keeping a path.
    leaf: Option<(&'a Leaf, usize)>,
}

impl Iterator for Up<'_> {
    type Item = (f64, u32);

    #[inline]
    fn next(&mut self) -> Option<(f64, u32)> {
        let (leaf, within) = match self.leaf {
            Some((leaf, within)) if within < leaf.len => (leaf, within),
            _ if self.rank >= self.tree.len => return None,
            _ => self.tree.leaf(self.rank),
        };
        self.leaf = Some((leaf, within + 1));
        self.rank += 1;
        Some((leaf.scores[within], leaf.slots[within]))
    }
}

/// Pairs in reverse order; see [`Ordered::down`].
pub struct Down<'a> {
    tree: &'a Ordered,
    rank: usize,
    /// The leaf at hand, and the number of pairs in it that are still to come.
    leaf: Option<(&'a Leaf, usize)>,
}

impl Iterator for Down<'_> {
    type Item = (f64, u32);

    #[inline]
    fn next(&mut self) -> Option<(f64, u32)> {
        let (leaf, within) = match self.leaf {
            Some((leaf, left)) if left > 0 => (leaf, left - 1),
            _ => self.tree.leaf(self.rank.checked_sub(1)?),
        };
        self.leaf = Some((leaf, within));
        self.rank -= 1;
        Some((leaf.scores[within], leaf.slots[within]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;

    impl Ordered {
        /// Checks every count, every first pair and every level.
        fn check(&self) {
            fn walk(node: &Node, root: bool) -> (usize, usize) {
                match node {
                    Node::Leaf(leaf) => {
                        assert!(root || leaf.len > 0);
                        (leaf.len, 0)
                    }
                    Node::Inner(inner) => {
                        assert!(inner.len == inner.children.len() && inner.len <= FANOUT);
                        assert!(inner.len > usize::from(root));
                        let mut depths = Vec::new();
                        for (i, child) in inner.children.iter().enumerate() {
                            let (count, depth) = walk(child, false);
                            assert_eq!(count, inner.counts[i] as usize);
                            assert_eq!(child.first(), (inner.scores[i], inner.slots[i]));
                            depths.push(depth);
                        }
                        assert!(depths.iter().all(|depth| *depth == depths[0]));
                        (node.pairs(), depths[0] + 1)
                    }
                }
            }
            assert_eq!(walk(&self.root, true).0, self.len);
        }
    }

    /// The pair that stands for number `n`.
    fn pair(n: u32) -> (f64, u32) {
        (f64::from(n / 3), n)
    }

    fn compare(tree: &Ordered, model: &[u32]) {
        tree.check();
        assert_eq!(tree.len(), model.len());
        assert!(tree.up(0).eq(model.iter().map(|n| pair(*n))));
        assert!(
            tree.down(model.len())
                .eq(model.iter().rev().map(|n| pair(*n)))
        );
    }

    #[test]
    fn built_at_once() {
        for len in [0, 1, 64, 65, 128, 4096, 4097, 10_000] {
            let model: Vec<u32> = (0..len).collect();
            let pairs: Vec<(f64, u32)> = model.iter().map(|n| pair(*n)).collect();
            let mut tree = Ordered::from_sorted(&pairs);
            compare(&tree, &model);
            let (score, slot) = pair(len);
            tree.insert(tree.len(), score, slot);
            assert_eq!(tree.remove(0), pair(0));
            tree.check();
        }
    }

    #[test]
    fn behaves_as_a_sorted_vec() {
        let mut rng = Rng::new([5, 6]);
        let (mut tree, mut model) = (Ordered::new(), Vec::<u32>::new());
        for step in 0..60_000u64 {
            let growing = (step / 15_000).is_multiple_of(2);
            let n = rng.below(1 << 20) as u32;
            if model.is_empty() || rng.below(10) < if growing { 8 } else { 1 } {
                let rank = model.partition_point(|m| *m < n);
                assert_eq!(tree.rank_where(|s, m| (s, m) < pair(n)), rank);
                if model.get(rank) == Some(&n) {
                    assert_eq!(tree.at(rank), pair(n));
                } else {
                    model.insert(rank, n);
                    let (score, slot) = pair(n);
                    tree.insert(rank, score, slot);
                }
            } else {
                // Runs of removals empty whole nodes.
                let rank = rng.index(model.len());
                for _ in 0..rng.below(4) {
                    if rank < model.len() {
                        assert_eq!(tree.remove(rank), pair(model.remove(rank)));
                    }
                }
            }
            if step % 3000 == 0 {
                compare(&tree, &model);
                let rank = rng.index(model.len() + 1);
                let some: Vec<_> = tree.up(rank).take(100).map(|p| p.1).collect();
                assert_eq!(
                    some,
                    model[rank..].iter().copied().take(100).collect::<Vec<_>>()
                );
                let some: Vec<_> = tree.down(rank).take(100).map(|p| p.1).collect();
                assert_eq!(
                    some,
                    model[..rank]
                        .iter()
                        .rev()
                        .copied()
                        .take(100)
                        .collect::<Vec<_>>()
                );
            }
        }
        compare(&tree, &model);
        while let Some(n) = model.pop() {
            assert_eq!(tree.remove(model.len()), pair(n));
        }
        compare(&tree, &model);
    }

    #[test]
    fn nodes_filled_in_order_are_full() {
        for forwards in [true, false] {
            let mut tree = Ordered::new();
            for n in 0..100_000usize {
                tree.insert(if forwards { n } else { 0 }, 0.0, n as u32);
            }
            tree.check();
            if forwards {
                assert!(tree.memory() < 100_000 * 14, "{}", tree.memory());
            }
            let seen: Vec<_> = tree.up(0).map(|p| p.1 as usize).collect();
            let mut expected: Vec<_> = (0..100_000).collect();
            if !forwards {
                expected.reverse();
            }
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn replacing_reaches_the_inner_nodes() {
        let mut tree = Ordered::new();
        (0..5000).for_each(|n| tree.insert(n, 1.0, n as u32));
        (0..5000).for_each(|n| tree.replace(n, 2.0, 9000 - n as u32));
        tree.check();
        assert!(tree.up(0).eq((0..5000).map(|n| (2.0, 9000 - n))));
    }
}
