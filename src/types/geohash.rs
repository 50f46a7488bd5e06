//! Positions on the globe as 52-bit geohashes, distances, and the cells to look at for a search.
//!
//! A score interleaves 26 bits of latitude (the even bits) with 26 bits of longitude (the odd
//! bits), within the limits of EPSG:3857. Every formula takes its steps in the order in which Redis
//! takes them, so that scores, positions and distances are equal to the last bit.

use std::f64::consts::PI;
use std::ops::Range;

/// Limits of a longitude in degrees.
pub const LONGITUDE: (f64, f64) = (-180.0, 180.0);
/// Limits of a latitude in degrees; further towards the poles there are no positions.
pub const LATITUDE: (f64, f64) = (-85.051_128_78, 85.051_128_78);
/// Bits of either coordinate in a score.
const STEPS: u32 = 26;
/// Radius of the globe in metres.
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// Half of the equator on the Mercator map, in metres.
const MERCATOR_MAX: f64 = 20_037_726.37;
const EVEN: u64 = 0x5555_5555_5555_5555;

/// A position in degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Position {
    /// East is positive.
    pub longitude: f64,
    /// North is positive.
    pub latitude: f64,
}

impl Position {
    /// A position, unless it is outside of the limits.
    pub fn new(longitude: f64, latitude: f64) -> Option<Position> {
        let inside = (LONGITUDE.0..=LONGITUDE.1).contains(&longitude)
            && (LATITUDE.0..=LATITUDE.1).contains(&latitude);
        inside.then_some(Position {
            longitude,
            latitude,
        })
    }

    /// The position in the middle of a score's cell.
    pub fn from_score(score: f64) -> Position {
        let area = Cell {
            bits: truncate(score),
            steps: STEPS,
        }
        .area();
        let middle = |(low, high): (f64, f64), limits: (f64, f64)| {
            ((low + high) / 2.0).min(limits.1).max(limits.0)
        };
        Position {
            longitude: middle(area.longitude, LONGITUDE),
            latitude: middle(area.latitude, LATITUDE),
        }
    }

    /// The score of a member at this position, an integer.
    pub fn score(self) -> u64 {
        encode(self, LATITUDE, STEPS)
    }

    /// The standard geohash of eleven characters. Its last one says nothing and is always 0.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        // Standard geohashes reach up to the poles.
        let bits = encode(self, (-90.0, 90.0), STEPS);
        std::array::from_fn(|place| match place {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (47 - place * 5)) as usize & 31],
        })
    }

    /// The distance to another position in metres.
    pub fn distance(self, other: Position) -> f64 {
        Center::new(self).distance(other)
    }
}

/// What C makes of a score as an unsigned 64-bit integer on x86-64, for scores that are none.
fn truncate(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    // The processor's answer to whatever does not fit a signed integer.
    let signed = |value: f64| match (-HALF..HALF).contains(&value) {
        true => value as i64 as u64,
        false => 1 << 63,
    };
    if score >= HALF {
        signed(score - HALF) ^ 1 << 63
    } else {
        signed(score)
    }
}

fn encode(position: Position, latitudes: (f64, f64), steps: u32) -> u64 {
    let fixed = |value: f64, (low, high): (f64, f64)| {
        ((value - low) / (high - low) * (1u64 << steps) as f64) as u32
    };
    interleave(
        fixed(position.latitude, latitudes),
        fixed(position.longitude, LONGITUDE),
    )
}

/// The bits of `even` at the even places and those of `odd` at the odd ones.
fn interleave(even: u32, odd: u32) -> u64 {
    let spread = |value: u32| {
        let mut x = u64::from(value);
        x = (x | x << 16) & 0x0000_ffff_0000_ffff;
        x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
        x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        x = (x | x << 2) & 0x3333_3333_3333_3333;
        (x | x << 1) & EVEN
    };
    spread(even) | spread(odd) << 1
}

/// The bits at the even places.
fn collect(bits: u64) -> u32 {
    let mut x = bits & EVEN;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

// ---------------------------------------------------------------- cells

/// A cell of the grid with `steps` bits for either coordinate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    bits: u64,
    steps: u32,
}

/// The limits of a cell in degrees.
struct Area {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

impl Cell {
    fn area(self) -> Area {
        let side = |number: u32, (low, high): (f64, f64)| {
            let at =
                |number: u32| low + f64::from(number) / (1u64 << self.steps) as f64 * (high - low);
            (at(number), at(number.wrapping_add(1)))
        };
        Area {
            longitude: side(collect(self.bits >> 1), LONGITUDE),
            latitude: side(collect(self.bits), LATITUDE),
        }
    }

    /// The cell so many to the east and to the north, each -1, 0 or 1; past an edge it comes back
    /// on the other side.
    fn neighbor(self, east: i32, north: i32) -> Cell {
        let all = u64::MAX >> (64 - self.steps * 2);
        // The bits of the other coordinate are filled so that a carry runs through them.
        let step = |part: u64, mask: u64, by: i32| {
            let filler = !mask & all;
            let part = part & mask;
            let moved = match by {
                // As it is: on the very edge of the globe it has one bit more than the grid.
                0 => return part,
                1 => part.wrapping_add(filler).wrapping_add(1),
                _ => (part | filler).wrapping_sub(filler.wrapping_add(1)),
            };
            moved & mask & all
        };
        Cell {
            bits: step(self.bits, !EVEN, east) | step(self.bits, EVEN, north),
            steps: self.steps,
        }
    }

    /// The scores within the cell, the end excluded.
    fn scores(self) -> Range<f64> {
        let score = |bits: u64| (bits << (52 - self.steps * 2)) as f64;
        score(self.bits)..score(self.bits + 1)
    }
}

// ---------------------------------------------------------------- distances

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// The distance in metres between two latitudes on one meridian.
fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS * (radians(b) - radians(a)).abs()
}

/// A position from which many distances are measured.
#[derive(Clone, Copy, Debug)]
struct Center {
    position: Position,
    longitude: f64,
    latitude: f64,
    cosine: f64,
}

impl Center {
    fn new(position: Position) -> Center {
        let latitude = radians(position.latitude);
        Center {
            position,
            longitude: radians(position.longitude),
            latitude,
            cosine: latitude.cos(),
        }
    }

    /// The great-circle distance in metres (haversine).
    fn distance(&self, other: Position) -> f64 {
        let v = ((radians(other.longitude) - self.longitude) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.position.latitude, other.latitude);
        }
        let latitude = radians(other.latitude);
        let u = ((latitude - self.latitude) / 2.0).sin();
        let a = u * u + self.cosine * latitude.cos() * v * v;
        2.0 * EARTH_RADIUS * a.sqrt().asin()
    }
}

// ---------------------------------------------------------------- searches

/// What a search looks for, in metres.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Shape {
    /// Up to this distance.
    Circle(f64),
    /// A box of this width and height with the centre in its middle.
    Box(f64, f64),
}

/// A shape somewhere on the globe.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    center: Center,
    shape: Shape,
}

impl Search {
    /// A shape around `center`.
    pub fn new(center: Position, shape: Shape) -> Search {
        Search {
            center: Center::new(center),
            shape,
        }
    }

    /// The distance of a position from the centre, if it is within the shape.
    #[inline]
    pub fn distance(&self, position: Position) -> Option<f64> {
        let center = self.center.position;
        let north = latitude_distance(position.latitude, center.latitude);
        match self.shape {
            Shape::Circle(radius) => {
                // No position is nearer than its latitude; the margin is for rounding errors.
                if north > radius * 1.000_001 + 1.0 {
                    return None;
                }
                let distance = self.center.distance(position);
                (distance <= radius).then_some(distance)
            }
            Shape::Box(width, height) => {
                if north > height / 2.0 {
                    return None;
                }
                let abreast = Position {
                    latitude: position.latitude,
                    ..center
                };
                if position.distance(abreast) > width / 2.0 {
                    return None;
                }
                Some(self.center.distance(position))
            }
        }
    }

    /// The ranges of scores in which everything within the shape is, in the order in which Redis
    /// visits them.
    pub fn score_ranges(&self) -> Vec<Range<f64>> {
        let mut ranges = Vec::with_capacity(9);
        let mut before: Option<(usize, Cell)> = None;
        for (number, cell) in self.cells().into_iter().enumerate() {
            let Some(cell) = cell else { continue };
            // In the largest grids neighbours coincide. Redis compares each only with the one
            // before, and none with the centre.
            if before.is_some_and(|(number, other)| number > 0 && other == cell) {
                continue;
            }
            ranges.push(cell.scores());
            before = Some((number, cell));
        }
        ranges
    }

    /// The cell of the centre and its neighbours, without those that are out of reach.
    fn cells(&self) -> [Option<Cell>; 9] {
        /// East and north: centre, N, S, E, W, NE, NW, SE, SW.
        const PLACES: [(i32, i32); 9] = [
            (0, 0),
            (0, 1),
            (0, -1),
            (1, 0),
            (-1, 0),
            (1, 1),
            (-1, 1),
            (1, -1),
            (-1, -1),
        ];
        let bounds = self.bounds();
        let cell = |steps| Cell {
            bits: encode(self.center.position, LATITUDE, steps),
            steps,
        };
        let mut center = cell(self.steps());
        if center.steps > 1 && !covers(center, &bounds) {
            center = cell(center.steps - 1);
        }
        let area = center.area();
        // Whether the centre's own cell goes past the bounds on a side.
        let (east, west) = (
            area.longitude.1 > bounds.longitude.1,
            area.longitude.0 < bounds.longitude.0,
        );
        let (north, south) = (
            area.latitude.1 > bounds.latitude.1,
            area.latitude.0 < bounds.latitude.0,
        );
        PLACES.map(|(x, y)| {
            let needless =
                (x > 0 && east) || (x < 0 && west) || (y > 0 && north) || (y < 0 && south);
            (center.steps < 2 || !needless).then(|| center.neighbor(x, y))
        })
    }

    /// The distance from the centre to the farthest edge of the shape, metres.
    fn radius(&self) -> f64 {
        match self.shape {
            Shape::Circle(radius) => radius,
            Shape::Box(width, height) => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        }
    }

    /// How fine a grid can be for the shape to fit into a cell and its neighbours.
    fn steps(&self) -> u32 {
        let mut range = self.radius();
        if range == 0.0 {
            return STEPS;
        }
        let mut steps = 1;
        while range < MERCATOR_MAX {
            range *= 2.0;
            steps += 1;
        }
        steps -= 2;
        // Cells get narrower towards the poles.
        let latitude = self.center.position.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS as i32) as u32
    }

    /// The box around the shape.
    fn bounds(&self) -> Area {
        let Position {
            longitude,
            latitude,
        } = self.center.position;
        let (width, height) = match self.shape {
            Shape::Circle(radius) => (radius, radius),
            Shape::Box(width, height) => (width / 2.0, height / 2.0),
        };
        let north = degrees(height / EARTH_RADIUS);
        // The edge nearer to a pole spans more degrees.
        let widest = match latitude < 0.0 {
            true => latitude - north,
            false => latitude + north,
        };
        let east = degrees(width / EARTH_RADIUS / radians(widest).cos());
        Area {
            longitude: (longitude - east, longitude + east),
            latitude: (latitude - north, latitude + north),
        }
    }
}

/// Whether a cell's neighbours reach to the bounds on all sides.
fn covers(cell: Cell, bounds: &Area) -> bool {
    let north = cell.neighbor(0, 1).area().latitude.1;
    let south = cell.neighbor(0, -1).area().latitude.0;
    let east = cell.neighbor(1, 0).area().longitude.1;
    let west = cell.neighbor(-1, 0).area().longitude.0;
    !(north < bounds.latitude.1
        || south > bounds.latitude.0
        || east < bounds.longitude.1
        || west > bounds.longitude.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;

    fn at(longitude: f64, latitude: f64) -> Position {
        Position::new(longitude, latitude).expect("inside the limits")
    }

    fn random(rng: &mut Rng) -> Position {
        at(
            rng.unit_f64() * 360.0 - 180.0,
            rng.unit_f64() * 170.0 - 85.0,
        )
    }

    #[test]
    fn known_positions() {
        // From the documentation of GEOADD, GEOHASH and GEODIST.
        let (palermo, catania) = (at(13.361389, 38.115556), at(15.087269, 37.502669));
        assert_eq!(palermo.score(), 3_479_099_956_230_698);
        assert_eq!(catania.score(), 3_479_447_370_796_909);
        let [palermo, catania] =
            [palermo, catania].map(|position| Position::from_score(position.score() as f64));
        assert_eq!(palermo.longitude, 13.361_389_338_970_184);
        assert_eq!(palermo.latitude, 38.115_556_395_496_3);
        assert_eq!(&palermo.geohash(), b"sqc8b49rny0");
        assert_eq!(&catania.geohash(), b"sqdtr74hyu0");
        assert_eq!(format!("{:.4}", palermo.distance(catania)), "166274.1516");
    }

    #[test]
    fn limits() {
        for (longitude, latitude) in [(180.1, 0.0), (-181.0, 0.0), (0.0, 85.06), (0.0, -86.0)] {
            assert_eq!(Position::new(longitude, latitude), None);
        }
        for corner in [at(180.0, LATITUDE.1), at(-180.0, LATITUDE.0)] {
            let back = Position::from_score(corner.score() as f64);
            assert!(Position::new(back.longitude, back.latitude).is_some());
        }
        assert_eq!(at(-180.0, LATITUDE.0).score(), 0);
        assert_eq!([-1.0, 0.5, 3.0].map(truncate), [u64::MAX, 0, 3]);
        assert_eq!(
            [f64::INFINITY, f64::NEG_INFINITY].map(truncate),
            [0, 1 << 63]
        );
        assert_eq!(truncate(1e19), 10_000_000_000_000_000_000);
    }

    #[test]
    fn bits_interleave() {
        let mut rng = Rng::new([1, 1]);
        for _ in 0..1000 {
            let (even, odd) = (rng.next_u64() as u32, rng.next_u64() as u32);
            let both = interleave(even, odd);
            assert_eq!((collect(both), collect(both >> 1)), (even, odd));
        }
        assert_eq!(interleave(0b11, 0b00), 0b0101);
    }

    #[test]
    fn neighbours_wrap_around() {
        let mut rng = Rng::new([2, 1]);
        for _ in 0..1000 {
            let steps = 1 + rng.below(26) as u32;
            let side = 1u64 << steps;
            let (x, y) = (rng.below(side), rng.below(side));
            let cell = Cell {
                bits: interleave(y as u32, x as u32),
                steps,
            };
            for (east, north) in [(0, 1), (1, 0), (-1, 1), (-1, -1), (1, -1), (0, 0)] {
                let wrapped =
                    |at: u64, by: i32| (at + side).wrapping_add_signed(i64::from(by)) % side;
                let expected = interleave(wrapped(y, north) as u32, wrapped(x, east) as u32);
                assert_eq!(cell.neighbor(east, north).bits, expected);
            }
        }
    }

    #[test]
    fn positions_survive_their_score() {
        let mut rng = Rng::new([3, 1]);
        for _ in 0..1000 {
            let position = random(&mut rng);
            let back = Position::from_score(position.score() as f64);
            assert!((back.longitude - position.longitude).abs() < 1e-5);
            assert!((back.latitude - position.latitude).abs() < 1e-5);
            assert_eq!(back.score(), position.score());
        }
    }

    #[test]
    fn searches_look_wherever_something_may_be() {
        let mut rng = Rng::new([4, 1]);
        let mut found = 0;
        for _ in 0..2000 {
            // Far from the poles and the date line, where Redis' cells do not reach around.
            let center = at(
                rng.unit_f64() * 200.0 - 100.0,
                rng.unit_f64() * 100.0 - 50.0,
            );
            let size = 10f64.powf(1.0 + 4.5 * rng.unit_f64());
            let shape = match rng.below(2) {
                0 => Shape::Circle(size),
                _ => Shape::Box(size, size * rng.unit_f64()),
            };
            let search = Search::new(center, shape);
            let ranges = search.score_ranges();
            for _ in 0..20 {
                let near = size / 100_000.0;
                let position = at(
                    center.longitude + near * (rng.unit_f64() - 0.5),
                    center.latitude + near * (rng.unit_f64() - 0.5),
                );
                let score = position.score() as f64;
                if search.distance(Position::from_score(score)).is_some() {
                    found += 1;
                    assert!(
                        ranges.iter().any(|range| range.contains(&score)),
                        "{search:?} {position:?}"
                    );
                }
            }
        }
        assert!(found > 5000, "{found}");
    }
}
