//! `LOLWUT`: a drawing, new each time, and the version.
//!
//! Redis draws something else in each major version. Here `VERSION 5` is a weave of diagonals,
//! `VERSION 6` a skyline at night, and everything else picks one of the two.

use super::error::Outcome;
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::REDIS_VERSION;
use crate::util::random::{Rng, with_thread_rng};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("lolwut", -1, lolwut)
    .flags(READONLY.or(FAST))
    .docs(
        Group::Server,
        "5.0.0",
        "O(1)",
        "Draws a piece of computer art and tells the version",
    )
    .args("[VERSION version:integer]")];

/// Size of a drawing unless told otherwise, and the most that is drawn.
const SIZE: (i64, i64) = (66, 12);
const MOST: (i64, i64) = (200, 60);

/// `LOLWUT [VERSION version [columns [rows]]]`
fn lolwut(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mut version = None;
    let (mut columns, mut rows) = SIZE;
    if args.len() > 2 && is(&args[1], "VERSION") {
        version = Some(int(args, 2)?);
        if args.len() > 3 {
            columns = int(args, 3)?;
        }
        if args.len() > 4 {
            rows = int(args, 4)?;
        }
    }
    let (columns, rows) = (
        columns.clamp(1, MOST.0) as usize,
        rows.clamp(1, MOST.1) as usize,
    );
    let mut text = with_thread_rng(|rng| match version {
        Some(5) => weave(rng, columns, rows),
        Some(6) => skyline(rng, columns, rows),
        _ if rng.below(2) == 0 => weave(rng, columns, rows),
        _ => skyline(rng, columns, rows),
    });
    text.push_str("\nRedis ver. ");
    text.push_str(REDIS_VERSION);
    text.push('\n');
    c.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Diagonals that fall one way at the left and the other at the right, with chance in between.
fn weave(rng: &mut Rng, columns: usize, rows: usize) -> String {
    let mut text = String::new();
    for _ in 0..rows {
        for column in 0..columns {
            let rising = rng.index(columns) >= column;
            text.push(if rising { '╱' } else { '╲' });
        }
        text.push('\n');
    }
    text
}

/// Houses with some windows lit, under a sky with some stars.
fn skyline(rng: &mut Rng, columns: usize, rows: usize) -> String {
    // Height of the house at each column; 0 for the gaps between them.
    let mut heights: Vec<usize> = Vec::new();
    while heights.len() < columns {
        let height = rng.index(rows) + 1;
        let width = 3 + 2 * rng.index(4);
        heights.extend(std::iter::repeat_n(height, width));
        heights.push(0);
    }
    let mut text = String::new();
    for level in (1..=rows).rev() {
        for column in 0..columns {
            let height = heights[column];
            let edge = column == 0 || heights[column - 1] == 0;
            text.push(match height {
                _ if height < level && rng.below(30) == 0 => '.',
                _ if height < level => ' ',
                _ if height == level => '▄',
                _ if !edge && column.is_multiple_of(2) && rng.below(3) == 0 => '░',
                _ => '█',
            });
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_have_the_size_asked_for() {
        let mut rng = Rng::new([1, 2]);
        for (columns, rows) in [(1, 1), (66, 12), (200, 60)] {
            for text in [
                weave(&mut rng, columns, rows),
                skyline(&mut rng, columns, rows),
            ] {
                assert_eq!(text.lines().count(), rows);
                assert!(text.lines().all(|line| line.chars().count() == columns));
            }
        }
    }
}
