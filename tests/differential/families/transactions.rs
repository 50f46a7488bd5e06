//! Transactions: no commands of their own, but those of all families, in `MULTI` … `EXEC`.
//!
//! Now and then the connection watches a key before; whether what follows touches it is then up to
//! the commands in between, which are the same connection's own.

use crate::args;
use crate::random::{Case, Random};
use crate::wire::Rule;

/// Puts some of the cases, in the order they have, into transactions.
pub fn in_transactions(random: &mut Random, cases: Vec<Case>) -> Vec<Case> {
    let mut all = Vec::with_capacity(2 * cases.len());
    let mut cases = cases.into_iter().peekable();
    while cases.peek().is_some() {
        if random.once_in(2) {
            all.push(Case::exact(watch(random)));
        }
        let between = random.below(4);
        all.extend(cases.by_ref().take(between));
        if random.once_in(8) {
            all.push(Case::exact(args!["UNWATCH"]));
        }
        let inside = random.below(9);
        transaction(random, &mut all, cases.by_ref().take(inside));
    }
    all
}

fn watch(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["WATCH"];
    args.extend(random.keys(2));
    args
}

fn transaction(random: &mut Random, all: &mut Vec<Case>, cases: impl Iterator<Item = Case>) {
    all.push(Case::exact(args!["MULTI"]));
    let mut parts: Vec<Rule> = Vec::new();
    for mut case in cases {
        // Only 7.2 takes a third argument of ZRANK; 7.0 does not even queue it.
        if case.args[0].to_ascii_uppercase().ends_with(b"RANK") && case.args.len() != 3 {
            continue;
        }
        parts.push(case.rule);
        // What is refused at once is compared by its code, what is queued by that word.
        case.rule = Rule::Type;
        all.push(case);
    }
    if random.once_in(12) {
        all.push(Case::exact(args!["DISCARD"]));
    } else {
        let exec = Case::exact(args!["EXEC"]);
        all.push(Case { parts, ..exec });
    }
}
