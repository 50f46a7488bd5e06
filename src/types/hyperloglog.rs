//! HyperLogLogs, byte for byte as Redis keeps them in strings.
//!
//! A string starts with a header of 16 bytes: `HYLL`, the encoding (0 dense, 1 sparse), three zero
//! bytes, and the cached count, little endian, whose highest bit says that it is out of date. Then
//! come 2^14 registers. Dense: six bits each, from the lowest bit of the first byte on. Sparse: runs
//! of registers, `00nnnnnn` n+1 zeros, `01nnnnnn nnnnnnnn` n+1 zeros, `1vvvvvnn` n+1 times v+1.
//! The count is Ertl's estimator, <https://arxiv.org/abs/1702.01284>.

use std::ops::Range;

use crate::util::random::Rng;

const INDEX_BITS: u32 = 14;
/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// The hash bits that the registers count zeros in.
const HASH_BITS: usize = 64 - INDEX_BITS as usize;
const REGISTER_MAX: u8 = 63;
const HEADER: usize = 16;
/// Length of a dense HyperLogLog.
pub const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;
const MAGIC: &[u8] = b"HYLL";
const ENCODING: usize = 4;
const CACHE: Range<usize> = 8..16;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// In the last byte of the cached count: it is out of date.
const STALE: u8 = 0x80;

/// The greatest value that a sparse run can hold.
const RUN_MAX_VALUE: u8 = 32;
/// The longest run of such a value.
const RUN_MAX_LEN: usize = 4;
/// The longest run of zeros in one byte.
const ZEROS_MAX_LEN: usize = 64;

/// The sparse runs make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupted;

/// One run of registers of a sparse HyperLogLog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// So many zeros, written in one byte.
    Zeros(usize),
    /// So many zeros, written in two bytes.
    ManyZeros(usize),
    /// A value, and how often it is repeated.
    Value(u8, usize),
}

impl Run {
    /// The run at the start of `bytes`. A second byte that is missing reads as zero.
    fn read(bytes: &[u8]) -> Option<Run> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => Run::Zeros(usize::from(first) + 1),
            1 => {
                let second = bytes.get(1).copied().unwrap_or(0);
                Run::ManyZeros((usize::from(first & 0x3f) << 8 | usize::from(second)) + 1)
            }
            _ => Run::Value((first >> 2 & 0x1f) + 1, usize::from(first & 3) + 1),
        })
    }

    /// The run of `len` zeros in the shortest form; nothing when there are none.
    fn write_zeros(out: &mut Vec<u8>, len: usize) {
        if len > ZEROS_MAX_LEN {
            let number = len - 1;
            out.extend([0x40 | (number >> 8) as u8, number as u8]);
        } else if len > 0 {
            out.push(len as u8 - 1);
        }
    }

    /// The run of `len` times `value`; nothing when there are none.
    fn write_value(out: &mut Vec<u8>, value: u8, len: usize) {
        if len > 0 {
            out.push(value_run(value, len));
        }
    }

    /// How many registers the run covers.
    pub fn len(self) -> usize {
        match self {
            Run::Zeros(len) | Run::ManyZeros(len) | Run::Value(_, len) => len,
        }
    }

    /// Whether it covers none, which no run does.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value of its registers.
    pub fn value(self) -> u8 {
        match self {
            Run::Zeros(_) | Run::ManyZeros(_) => 0,
            Run::Value(value, _) => value,
        }
    }

    /// Bytes that it takes.
    fn size(self) -> usize {
        match self {
            Run::ManyZeros(_) => 2,
            Run::Zeros(_) | Run::Value(..) => 1,
        }
    }
}

fn value_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len as u8 - 1)
}

/// The runs of a sparse HyperLogLog, in their order; they may be corrupted.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> + '_ {
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let run = Run::read(rest)?;
        rest = rest.get(run.size()..).unwrap_or_default();
        Some(run)
    })
}

/// The runs with the number of their first register. The last item is an error unless they cover
/// exactly the registers.
fn checked_runs(bytes: &[u8]) -> impl Iterator<Item = Result<(usize, Run), Corrupted>> + '_ {
    let mut runs = runs(bytes);
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let first = next?;
        match runs.next() {
            Some(run) if first + run.len() <= REGISTERS => {
                next = Some(first + run.len());
                Some(Ok((first, run)))
            }
            None if first == REGISTERS => None,
            _ => {
                next = None;
                Some(Err(Corrupted))
            }
        }
    })
}

/// An empty HyperLogLog, which is sparse.
pub fn new() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[ENCODING] = SPARSE;
    Run::write_zeros(&mut bytes, REGISTERS);
    bytes
}

/// Whether a string has the header of a HyperLogLog and, if it is dense, its length.
pub fn is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(MAGIC)
        && match bytes[ENCODING] {
            DENSE => bytes.len() == DENSE_LEN,
            SPARSE => true,
            _ => false,
        }
}

/// Whether a valid HyperLogLog is sparse.
pub fn is_sparse(bytes: &[u8]) -> bool {
    bytes[ENCODING] == SPARSE
}

/// The cached count of a valid HyperLogLog, unless it is out of date.
pub fn cached_count(bytes: &[u8]) -> Option<u64> {
    let count = u64::from_le_bytes(*bytes[CACHE].first_chunk()?);
    (bytes[CACHE.end - 1] & STALE == 0).then_some(count)
}

/// Keeps the count of a valid HyperLogLog in its header.
pub fn cache_count(bytes: &mut [u8], count: u64) {
    bytes[CACHE].copy_from_slice(&count.to_le_bytes());
}

/// Notes that the cached count is out of date.
pub fn invalidate(bytes: &mut [u8]) {
    bytes[CACHE.end - 1] |= STALE;
}

// ---------------------------------------------------------------- hashing

/// MurmurHash64A, <https://github.com/aappleby/smhasher>, reading little endian on any machine.
fn murmur(data: &[u8], seed: u64) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = seed ^ (data.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> SHIFT;
        hash ^= k.wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash ^= u64::from_le_bytes(last);
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

/// The register of an element and the value it puts there: the place of the lowest bit set, counted
/// from 1, among the hash bits that do not tell the register.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element, 0xadc8_3b19);
    let rest = hash >> INDEX_BITS | 1 << HASH_BITS;
    (hash as usize % REGISTERS, rest.trailing_zeros() as u8 + 1)
}

// ---------------------------------------------------------------- dense registers

/// The register at `index` among dense registers.
fn get_dense(registers: &[u8], index: usize) -> u8 {
    let (byte, bit) = (index * 6 / 8, index * 6 % 8);
    let high = match bit > 2 {
        true => u16::from(registers[byte + 1]),
        false => 0,
    };
    ((high << 8 | u16::from(registers[byte])) >> bit) as u8 & REGISTER_MAX
}

fn set_dense(registers: &mut [u8], index: usize, value: u8) {
    let (byte, bit) = (index * 6 / 8, index * 6 % 8);
    let mask = u16::from(REGISTER_MAX) << bit;
    let value = u16::from(value) << bit;
    registers[byte] = registers[byte] & !(mask as u8) | value as u8;
    if bit > 2 {
        let next = &mut registers[byte + 1];
        *next = *next & !((mask >> 8) as u8) | (value >> 8) as u8;
    }
}

/// Raises a dense register; false when it is that high already.
fn raise_dense(registers: &mut [u8], index: usize, value: u8) -> bool {
    let raises = value > get_dense(registers, index);
    if raises {
        set_dense(registers, index, value);
    }
    raises
}

/// All dense registers, four at a time.
fn dense_registers(registers: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    let (triples, _) = registers.as_chunks::<3>();
    triples.iter().map(|triple| unpack(*triple))
}

/// The four dense registers in three bytes.
fn unpack([a, b, c]: [u8; 3]) -> [u8; 4] {
    let bits = u32::from_le_bytes([a, b, c, 0]);
    let register = |number: u32| (bits & 0x3f << (6 * number)) << (2 * number);
    (register(0) | register(1) | register(2) | register(3)).to_le_bytes()
}

/// The opposite of [`unpack`].
fn pack([a, b, c, d]: [u8; 4]) -> [u8; 3] {
    [a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2]
}

/// Sets every register of a valid dense HyperLogLog, to what fits a register.
fn set_all_dense(bytes: &mut [u8], all: &[u8]) {
    let (triples, _) = bytes[HEADER..].as_chunks_mut::<3>();
    let (fours, _) = all.as_chunks::<4>();
    for (triple, four) in triples.iter_mut().zip(fours) {
        *triple = pack(*four);
    }
}

/// All registers of a valid HyperLogLog.
///
/// # Errors
/// [`Corrupted`] when it is sparse and its runs make no sense.
pub fn registers(bytes: &[u8]) -> Result<Vec<u8>, Corrupted> {
    let mut all = vec![0; REGISTERS];
    merge(&mut all, bytes)?;
    Ok(all)
}

/// Makes a valid HyperLogLog dense; false when it was. The cached count stays.
///
/// # Errors
/// [`Corrupted`] when its runs make no sense; it stays as it was.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<bool, Corrupted> {
    if !is_sparse(bytes) {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_LEN];
    dense[..HEADER].copy_from_slice(&bytes[..HEADER]);
    dense[ENCODING] = DENSE;
    for run in checked_runs(bytes) {
        let (first, run) = run?;
        if run.value() > 0 {
            for index in first..first + run.len() {
                set_dense(&mut dense[HEADER..], index, run.value());
            }
        }
    }
    *bytes = dense;
    Ok(true)
}

// ---------------------------------------------------------------- changes

/// Adds an element to a valid HyperLogLog; true when that changed a register. A sparse one becomes
/// dense before it is longer than `sparse_max` bytes. The cached count may stay: see
/// [`invalidate`].
///
/// # Errors
/// [`Corrupted`] when its runs make no sense.
pub fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_max: u64) -> Result<bool, Corrupted> {
    let (index, value) = place(element);
    raise(bytes, index, value, sparse_max)
}

/// Raises a register to at least `value`; see [`add`].
///
/// # Errors
/// [`Corrupted`] when its runs make no sense.
pub fn raise(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max: u64,
) -> Result<bool, Corrupted> {
    if !is_sparse(bytes) {
        return Ok(raise_dense(&mut bytes[HEADER..], index, value));
    }
    if value <= RUN_MAX_VALUE
        && let Some(raised) = raise_sparse(bytes, index, value, sparse_max)?
    {
        return Ok(raised);
    }
    make_dense(bytes)?;
    Ok(raise_dense(&mut bytes[HEADER..], index, value))
}

/// Raises all registers to those in `all`, which are at least as high: what [`merge`] has made of
/// this HyperLogLog and others. On the order in which it happens depend the bytes of a sparse one.
///
/// # Errors
/// [`Corrupted`] when its runs make no sense.
pub fn raise_all(bytes: &mut Vec<u8>, all: &[u8], sparse_max: u64) -> Result<(), Corrupted> {
    for (index, &value) in all.iter().enumerate() {
        if !is_sparse(bytes) {
            set_all_dense(bytes, all);
            break;
        }
        if value > 0 {
            raise(bytes, index, value, sparse_max)?;
        }
    }
    Ok(())
}

/// Raises a register of a sparse HyperLogLog; `None` when it has to become dense first.
fn raise_sparse(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max: u64,
) -> Result<Option<bool>, Corrupted> {
    // The run that covers the register, its first register, and where the run before it is.
    let (mut at, mut before, mut first) = (HEADER, None, 0);
    let run = loop {
        let run = Run::read(bytes.get(at..).unwrap_or_default()).ok_or(Corrupted)?;
        if index < first + run.len() {
            break run;
        }
        before = Some(at);
        at += run.size();
        first += run.len();
    };
    if at + run.size() > bytes.len() {
        return Err(Corrupted);
    }
    if run.value() >= value {
        return Ok(Some(false));
    }
    let mut split = Vec::with_capacity(5);
    let (left, right) = (index - first, first + run.len() - 1 - index);
    let write = |out: &mut Vec<u8>, len| match run {
        Run::Value(old, _) => Run::write_value(out, old, len),
        Run::Zeros(_) | Run::ManyZeros(_) => Run::write_zeros(out, len),
    };
    write(&mut split, left);
    Run::write_value(&mut split, value, 1);
    write(&mut split, right);
    let growth = split.len().saturating_sub(run.size());
    if growth > 0 && (bytes.len() + growth) as u64 > sparse_max {
        return Ok(None);
    }
    bytes.splice(at..at + run.size(), split);
    join_runs(bytes, before.unwrap_or(HEADER));
    invalidate(bytes);
    Ok(Some(true))
}

/// Joins equal runs of values next to each other, from `at` on, as far as Redis looks.
fn join_runs(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = Run::read(bytes.get(at..).unwrap_or_default()) else {
            return;
        };
        if let Run::Value(value, len) = run
            && let Some(Run::Value(next, more)) = Run::read(&bytes[at + 1..])
            && value == next
            && len + more <= RUN_MAX_LEN
        {
            bytes[at] = value_run(value, len + more);
            bytes.remove(at + 1);
            continue;
        }
        at += run.size();
    }
}

/// Raises each of the [`REGISTERS`] in `all` to that of a valid HyperLogLog.
///
/// # Errors
/// [`Corrupted`] when it is sparse and its runs make no sense.
pub fn merge(all: &mut [u8], bytes: &[u8]) -> Result<(), Corrupted> {
    if !is_sparse(bytes) {
        // In two steps, each of which the compiler makes fast.
        let mut others = [0; REGISTERS];
        let (fours, _) = others.as_chunks_mut::<4>();
        let unpacked = fours.iter_mut().zip(dense_registers(&bytes[HEADER..]));
        unpacked.for_each(|(four, values)| *four = values);
        let pairs = all.iter_mut().zip(&others);
        pairs.for_each(|(register, value)| *register = *value.max(register));
        return Ok(());
    }
    for run in checked_runs(bytes) {
        let (first, run) = run?;
        if run.value() > 0 {
            for register in &mut all[first..first + run.len()] {
                *register = run.value().max(*register);
            }
        }
    }
    Ok(())
}

// ---------------------------------------------------------------- counting

/// How many registers have each value.
type Histogram = [u32; REGISTER_MAX as usize + 1];

const NO_REGISTERS: Histogram = [0; REGISTER_MAX as usize + 1];

/// The estimated number of elements added to a valid HyperLogLog.
///
/// # Errors
/// [`Corrupted`] when it is sparse and its runs make no sense.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupted> {
    if !is_sparse(bytes) {
        return Ok(estimate(&histogram(dense_registers(&bytes[HEADER..]))));
    }
    let mut histogram = NO_REGISTERS;
    for run in checked_runs(bytes) {
        let (_, run) = run?;
        histogram[usize::from(run.value())] += run.len() as u32;
    }
    Ok(estimate(&histogram))
}

/// The estimated number of elements for the [`REGISTERS`] plain ones that [`merge`] fills.
pub fn count_registers(registers: &[u8]) -> u64 {
    let (fours, _) = registers.as_chunks::<4>();
    estimate(&histogram(fours.iter().copied()))
}

/// Counts in four tables: most registers have one of few values, and each step would have to wait
/// for the one before it to be written.
fn histogram(registers: impl Iterator<Item = [u8; 4]>) -> Histogram {
    let mut tables = [NO_REGISTERS; 4];
    registers.for_each(|four| {
        for (table, value) in tables.iter_mut().zip(four) {
            table[usize::from(value & REGISTER_MAX)] += 1;
        }
    });
    let [mut histogram, others @ ..] = tables;
    for table in others {
        let pairs = histogram.iter_mut().zip(table);
        pairs.for_each(|(sum, count)| *sum += count);
    }
    histogram
}

fn estimate(histogram: &Histogram) -> u64 {
    // Half of 1/ln 2, with the digits that Redis gives it.
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let m = REGISTERS as f64;
    let mut z = m * tau((m - f64::from(histogram[HASH_BITS + 1])) / m);
    for &registers in histogram[1..=HASH_BITS].iter().rev() {
        z += f64::from(registers);
        z *= 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA * m * m / z).round() as u64
}

/// Ertl's sigma: corrects for registers that are zero.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// Ertl's tau: corrects for registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

// ---------------------------------------------------------------- self test

/// What PFSELFTEST does: registers keep their values, both encodings agree, and counts up to
/// `elements` are as good as they should be.
///
/// # Errors
/// The text that tells what failed.
pub fn self_test(
    rng: &mut Rng,
    cycles: usize,
    elements: u64,
    sparse_max: u64,
) -> Result<(), String> {
    let mut dense = vec![0; DENSE_LEN];
    for _ in 0..cycles {
        let values: Vec<u8> = (0..REGISTERS).map(|_| rng.below(64) as u8).collect();
        for (index, value) in values.iter().enumerate() {
            set_dense(&mut dense[HEADER..], index, *value);
        }
        for (index, value) in values.iter().enumerate() {
            let found = get_dense(&dense[HEADER..], index);
            if found != *value {
                return Err(format!("Register {index} should be {value} but is {found}"));
            }
        }
    }
    dense.fill(0);
    let mut either = new();
    let seed = rng.next_u64();
    let error = 1.04 / (REGISTERS as f64).sqrt();
    let mut checkpoint = 1;
    for number in 1..=elements {
        let element = (number ^ seed).to_le_bytes();
        let (index, value) = place(&element);
        raise_dense(&mut dense[HEADER..], index, value);
        let broken = |_| "sparse encoding is corrupted".to_string();
        raise(&mut either, index, value, sparse_max).map_err(broken)?;
        if number < checkpoint {
            continue;
        }
        if number < sparse_max / 2 && !is_sparse(&either) {
            return Err("sparse encoding not used".into());
        }
        let counted = count(&dense).map_err(broken)?;
        if counted != count(&either).map_err(broken)? {
            return Err("dense/sparse disagree".into());
        }
        // Two of ten elements may well share a register.
        let most = match number {
            10 => 1,
            _ => (error * 6.0 * number as f64).ceil() as u64,
        };
        let off = counted.abs_diff(number);
        if off > most {
            return Err(format!("Too big error. card:{number} abserr:{off}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMIT: u64 = u64::MAX;

    fn filled(elements: u32, sparse_max: u64) -> Vec<u8> {
        let mut bytes = new();
        for number in 0..elements {
            add(&mut bytes, format!("e{number}").as_bytes(), sparse_max).expect("sound");
        }
        bytes
    }

    #[test]
    fn an_empty_one_looks_as_in_redis() {
        let bytes = new();
        assert_eq!(bytes, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        assert!(is_valid(&bytes) && is_sparse(&bytes));
        assert_eq!((cached_count(&bytes), count(&bytes)), (Some(0), Ok(0)));
        let runs: Vec<Run> = runs(&bytes).collect();
        assert_eq!(runs, [Run::ManyZeros(REGISTERS)]);
    }

    #[test]
    fn sparse_and_dense_hold_the_same() {
        for elements in [0, 1, 2, 10, 100, 1000, 5000] {
            let sparse = filled(elements, NO_LIMIT);
            let mut dense = filled(elements, 0);
            assert!(is_sparse(&sparse));
            assert!(elements == 0 || !is_sparse(&dense));
            make_dense(&mut dense).expect("sound");
            assert_eq!(dense.len(), DENSE_LEN);
            assert_eq!(registers(&sparse), registers(&dense));
            assert_eq!(count(&sparse), count(&dense));
            assert_eq!(
                registers(&sparse).map(|all| count_registers(&all)),
                count(&sparse)
            );
            let off = count(&sparse).expect("sound").abs_diff(u64::from(elements));
            assert!(off as f64 <= f64::from(elements) * 0.05, "{elements} {off}");
            let mut converted = sparse.clone();
            assert_eq!(make_dense(&mut converted), Ok(true));
            assert_eq!(make_dense(&mut converted), Ok(false));
            assert_eq!(registers(&converted), registers(&dense));
            // Adding the same once more changes nothing.
            let mut again = sparse.clone();
            assert_eq!(add(&mut again, b"e0", NO_LIMIT), Ok(elements == 0));
        }
    }

    #[test]
    fn raising_all_is_raising_each() {
        for (elements, sparse_max) in [(0, 3000), (50, 3000), (50, 60), (50, 0), (9000, 3000)] {
            let mut all = registers(&filled(elements, NO_LIMIT)).expect("sound");
            let start = filled(30, 3000);
            merge(&mut all, &start).expect("sound");
            let (mut at_once, mut each) = (start.clone(), start);
            raise_all(&mut at_once, &all, sparse_max).expect("sound");
            for (index, value) in all.iter().enumerate().filter(|(_, value)| **value > 0) {
                raise(&mut each, index, *value, sparse_max).expect("sound");
            }
            assert_eq!(registers(&at_once), Ok(all));
            invalidate(&mut at_once);
            invalidate(&mut each);
            assert_eq!(at_once, each, "{elements} {sparse_max}");
        }
    }

    #[test]
    fn sparse_ones_stay_within_the_limit() {
        for limit in [20, 30, 100, 3000] {
            let mut rng = Rng::new([limit, 1]);
            let mut bytes = new();
            while is_sparse(&bytes) {
                assert!(bytes.len() as u64 <= limit);
                add(&mut bytes, &rng.next_u64().to_le_bytes(), limit).expect("sound");
            }
            assert_eq!(bytes.len(), DENSE_LEN);
        }
    }

    #[test]
    fn runs_are_split_and_joined() {
        let mut bytes = new();
        let mut model = vec![0; REGISTERS];
        let mut rng = Rng::new([5, 6]);
        for _ in 0..4000 {
            let index = rng.index(200) + if rng.below(4) == 0 { 16184 } else { 0 };
            let value = 1 + rng.below(4) as u8;
            let raises = value > model[index];
            assert_eq!(raise(&mut bytes, index, value, NO_LIMIT), Ok(raises));
            model[index] = value.max(model[index]);
        }
        assert!(is_sparse(&bytes));
        assert_eq!(registers(&bytes), Ok(model));
        assert_eq!(raise(&mut bytes, 7, 33, NO_LIMIT), Ok(true));
        assert!(!is_sparse(&bytes), "33 does not fit a run");
        let mut four = new();
        for index in 0..5 {
            raise(&mut four, index, 2, NO_LIMIT).expect("sound");
        }
        assert_eq!(
            runs(&four).collect::<Vec<_>>(),
            [Run::Value(2, 4), Run::Value(2, 1), Run::ManyZeros(16379)]
        );
    }

    #[test]
    fn corruption_is_noticed() {
        let mut cases = vec![new(), new(), new(), filled(50, NO_LIMIT)];
        cases[0].push(0);
        cases[1].pop();
        cases[2].truncate(HEADER);
        cases[3].extend([0x83; 3]);
        for mut bytes in cases {
            assert!(is_valid(&bytes));
            assert_eq!(count(&bytes), Err(Corrupted));
            assert_eq!(registers(&bytes), Err(Corrupted));
            let before = bytes.clone();
            assert_eq!(make_dense(&mut bytes), Err(Corrupted));
            assert_eq!(bytes, before);
        }
        let mut short = new();
        short.truncate(HEADER);
        assert_eq!(add(&mut short, b"a", NO_LIMIT), Err(Corrupted));
        for invalid in [
            &b""[..],
            b"HYLL",
            b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0",
            &[0; DENSE_LEN],
        ] {
            assert!(!is_valid(invalid));
        }
        let mut dense = filled(1, 0);
        assert!(is_valid(&dense));
        dense.push(0);
        assert!(!is_valid(&dense));
    }

    #[test]
    fn the_cached_count() {
        let mut bytes = new();
        cache_count(&mut bytes, 0x0102_0304);
        assert_eq!(bytes[8..16], [4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(cached_count(&bytes), Some(0x0102_0304));
        invalidate(&mut bytes);
        assert_eq!(cached_count(&bytes), None);
    }

    #[test]
    fn the_self_test_passes() {
        for seed in 0..3 {
            let mut rng = Rng::new([seed, 9]);
            assert_eq!(self_test(&mut rng, 2, 20_000, 3000), Ok(()));
        }
    }
}
