//! The manifest of an append only file: which files make it up, in the order they are loaded.
//!
//! It is text of one line a file, `file NAME seq NUMBER type LETTER`, where the letter is `b` for
//! the base, `i` for an increment and `h` for history, a file that has been replaced and waits to
//! be deleted. Keywords come in any order and any case, unknown ones are skipped, and a line that
//! starts with `#` is a comment. There is at most one base, and the numbers of increments rise.
//!
//! Pure code: [`super::files`] reads and writes the file itself.

use std::fmt;
use std::io::Write as _;

use crate::util::quoting;

/// Longest line, its line end included.
const LINE_MAX: usize = 1024;

/// One file that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without a path.
    pub name: Vec<u8>,
    /// The sequence number. Bases and increments are counted apart.
    pub seq: i64,
}

/// The files of an append only file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    base: Option<Entry>,
    increments: Vec<Entry>,
    history: Vec<Entry>,
    /// Numbers given last: a counter outlives the file that had the number.
    base_seq: i64,
    increment_seq: i64,
    /// Whether the manifest differs from what was last written or read.
    dirty: bool,
}

/// There is no sequence number above the one given last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no sequence number is left for another append only file")
    }
}

/// Why a text is not a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The number (from 1) and text of the line at fault, if one was taken apart.
    pub line: Option<(usize, Vec<u8>)>,
    /// What is wrong, in Redis' words.
    pub what: &'static str,
}

impl Invalid {
    /// An error that no line is at fault for.
    pub fn whole(what: &'static str) -> Invalid {
        Invalid { line: None, what }
    }

    /// The messages that Redis logs as warnings before it gives up, line ends included.
    pub fn messages(&self) -> Vec<String> {
        let mut all = vec!["\n*** FATAL AOF MANIFEST FILE ERROR ***\n".to_string()];
        if let Some((number, line)) = &self.line {
            let line = String::from_utf8_lossy(line);
            all.push(format!("Reading the manifest file, at line {number}\n"));
            all.push(format!(">>> '{line}'\n"));
        }
        all.push(format!("{}\n", self.what));
        all
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match &self.line {
            Some((number, _)) => write!(f, " (line {number})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Invalid {}

const FORMAT: &str = "Invalid AOF manifest file format";

// ---------------------------------------------------------------- reading

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first thing that Redis would refuse.
    pub fn parse(text: &[u8]) -> Result<Manifest, Invalid> {
        if text.is_empty() {
            return Err(Invalid::whole("Found an empty AOF manifest"));
        }
        let mut manifest = Manifest::default();
        for (index, piece) in pieces(text).enumerate() {
            // C strings end at a zero byte.
            let piece = piece.split(|&b| b == 0).next().unwrap_or(piece);
            if piece.first() == Some(&b'#') {
                continue;
            }
            if !piece.contains(&b'\n') {
                return Err(Invalid::whole(
                    "The AOF manifest file contains too long line",
                ));
            }
            let line = trim(piece);
            manifest.line(line).map_err(|what| Invalid {
                line: Some((index + 1, line.to_vec())),
                what,
            })?;
        }
        Ok(manifest)
    }

    /// Takes in one line.
    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let words = quoting::split_args(line).ok_or(FORMAT)?;
        // More than three pairs are allowed: later versions may know more keywords.
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(FORMAT);
        }
        let (mut name, mut seq, mut letter) = (None, 0, 0);
        for pair in words.chunks_exact(2) {
            let (key, value) = (&pair[0], &pair[1]);
            if key.eq_ignore_ascii_case(b"file") {
                let value = value.split(|&b| b == 0).next().unwrap_or(value);
                if value.contains(&b'/') || value.contains(&b'\\') {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(value.to_vec());
            } else if key.eq_ignore_ascii_case(b"seq") {
                seq = number(value);
            } else if key.eq_ignore_ascii_case(b"type") {
                letter = value.first().copied().unwrap_or(0);
            }
        }
        let name = name.filter(|_| seq != 0 && letter != 0).ok_or(FORMAT)?;
        let entry = Entry { name, seq };
        match letter {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_seq = seq;
                self.base = Some(entry);
            }
            b'h' => self.history.push(entry),
            b'i' if seq <= self.increment_seq => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => {
                self.increment_seq = seq;
                self.increments.push(entry);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }
}

/// The text cut after line ends, and within lines that are too long: so comments may be long, but
/// what is behind their limit counts as a line of its own.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let window = &rest[..rest.len().min(LINE_MAX)];
        let len = match window.iter().position(|&b| b == b'\n') {
            Some(newline) => newline + 1,
            None => window.len(),
        };
        let piece;
        (piece, rest) = rest.split_at(len);
        (len > 0).then_some(piece)
    })
}

fn trim(line: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().position(|b| !blank(b)).unwrap_or(line.len());
    let end = line
        .iter()
        .rposition(|b| !blank(b))
        .map_or(start, |i| i + 1);
    &line[start..end]
}

/// The number that `text` starts with, as C's `atoll` sees it: nothing is 0, and what is out of
/// range becomes the nearest number that is not.
pub(super) fn number(text: &[u8]) -> i64 {
    let space = |b: &&u8| matches!(**b, b' ' | b'\t'..=b'\r');
    let spaces = text.iter().take_while(space).count();
    let (negative, digits) = match &text[spaces..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let digits = digits.iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0i64, |value, &digit| {
        let digit = i64::from(digit - b'0');
        let value = value.saturating_mul(10);
        if negative {
            value.saturating_sub(digit)
        } else {
            value.saturating_add(digit)
        }
    })
}

// ---------------------------------------------------------------- writing

impl Manifest {
    /// The text of the manifest: the base, history, and the increments.
    pub fn format(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let base = self.base.iter().map(|entry| (entry, 'b'));
        let history = self.history.iter().map(|entry| (entry, 'h'));
        let increments = self.increments.iter().map(|entry| (entry, 'i'));
        for (entry, letter) in base.chain(history).chain(increments) {
            out.extend_from_slice(b"file ");
            if quoting::needs_repr(&entry.name) {
                quoting::repr(&mut out, &entry.name);
            } else {
                out.extend_from_slice(&entry.name);
            }
            // Writing to a Vec cannot fail.
            let _ = writeln!(out, " seq {} type {letter}", entry.seq);
        }
        out
    }
}

// ---------------------------------------------------------------- contents

impl Manifest {
    /// The base, if there is one.
    pub fn base(&self) -> Option<&Entry> {
        self.base.as_ref()
    }

    /// The increments, oldest first.
    pub fn increments(&self) -> &[Entry] {
        &self.increments
    }

    /// Files that have been replaced and wait to be deleted, newest first.
    pub fn history(&self) -> &[Entry] {
        &self.history
    }

    /// What is to be loaded, in order: the base, then the increments.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.base.iter().chain(&self.increments)
    }

    /// Whether there is nothing to load. History may be left.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// Whether the manifest has changed since it was read or [`Manifest::written`].
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Notes that the manifest is on disk as it is now.
    pub fn written(&mut self) {
        self.dirty = false;
    }

    /// Names the next base of the append only file `stem`; the one before becomes history.
    ///
    /// # Errors
    /// When no sequence number is left; nothing has changed then.
    pub fn new_base(&mut self, stem: &[u8], rdb: bool) -> Result<&Entry, Exhausted> {
        self.base_seq = self.base_seq.checked_add(1).ok_or(Exhausted)?;
        if let Some(old) = self.base.take() {
            self.history.insert(0, old);
        }
        self.dirty = true;
        let suffix = if rdb { ".base.rdb" } else { ".base.aof" };
        Ok(self.base.insert(named(stem, self.base_seq, suffix)))
    }

    /// Names the next increment of the append only file `stem`.
    ///
    /// # Errors
    /// When no sequence number is left; nothing has changed then.
    pub fn new_increment(&mut self, stem: &[u8]) -> Result<&Entry, Exhausted> {
        self.increment_seq = self.increment_seq.checked_add(1).ok_or(Exhausted)?;
        self.dirty = true;
        let entry = named(stem, self.increment_seq, ".incr.aof");
        let at = self.increments.len();
        self.increments.push(entry);
        Ok(&self.increments[at])
    }

    /// Makes the file `stem` itself the base: what a version that kept a single file has left.
    pub fn adopt_base(&mut self, stem: &[u8]) {
        self.base = Some(Entry {
            name: stem.to_vec(),
            seq: 1,
        });
        self.base_seq = 1;
        self.dirty = true;
    }

    /// Makes increments history since a new base holds their effects: all of them, or all but the
    /// last, which is still being written.
    pub fn retire_increments(&mut self, keep_last: bool) {
        if self.increments.is_empty() {
            return;
        }
        let retired = self.increments.len() - usize::from(keep_last);
        self.history.splice(0..0, self.increments.drain(..retired));
        self.dirty = true;
    }

    /// Forgets history, and returns it to whoever deletes the files.
    pub fn take_history(&mut self) -> Vec<Entry> {
        self.dirty |= !self.history.is_empty();
        std::mem::take(&mut self.history)
    }
}

fn named(stem: &[u8], seq: i64, suffix: &str) -> Entry {
    let number = format!(".{seq}");
    Entry {
        name: [stem, number.as_bytes(), suffix.as_bytes()].concat(),
        seq,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Manifest {
        Manifest::parse(text.as_bytes()).unwrap()
    }

    fn fails(text: &[u8]) -> Invalid {
        Manifest::parse(text).unwrap_err()
    }

    #[track_caller]
    fn refused(text: &str, what: &str) {
        assert_eq!(fails(text.as_bytes()).what, what, "{text:?}");
    }

    fn text(manifest: &Manifest) -> String {
        String::from_utf8(manifest.format()).unwrap()
    }

    #[test]
    fn plain() {
        let manifest = parse(
            "# a comment\n\
             file appendonly.aof.2.base.rdb seq 2 type b\n\
             file appendonly.aof.1.incr.aof seq 1 type h\n\
             file appendonly.aof.4.incr.aof seq 4 type i\n\
             file appendonly.aof.7.incr.aof seq 7 type i\n",
        );
        assert!(!manifest.is_dirty() && !manifest.is_empty());
        assert_eq!(manifest.base().unwrap().seq, 2);
        assert_eq!(manifest.history().len(), 1);
        let names = manifest.files().map(|f| &f.name[..]).collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                &b"appendonly.aof.2.base.rdb"[..],
                b"appendonly.aof.4.incr.aof",
                b"appendonly.aof.7.incr.aof"
            ]
        );
        assert!(text(&manifest).starts_with("file appendonly.aof.2.base.rdb seq 2 type b\nfile"));
        assert_eq!(parse(&text(&manifest)), manifest);
    }

    #[test]
    fn loosely_written() {
        for line in [
            "FILE a Seq 1abc tYpe incr\n",
            "  file a seq 1 type i \t\r\n",
            "type i seq +1 file a\n",
            "file b file a seq 1 type i\n",
            "file a seq 1 type i colour blue\n",
            "file \"a\" seq '1' type i\n",
            "file \"a\\x00zz\" seq 1 type i\n",
            "# no line end needed here: \nfile a seq 1 type i\n# nor here",
        ] {
            assert_eq!(text(&parse(line)), "file a seq 1 type i\n", "{line:?}");
        }
        assert_eq!(parse("file \"\" seq 1 type i\n").increments()[0].name, b"");
        assert_eq!(parse("file a seq -1 type b\n").base().unwrap().seq, -1);
        assert!(parse("# only comments\n").is_empty());
    }

    #[test]
    fn refusals() {
        refused("", "Found an empty AOF manifest");
        for bad in [
            "\n",
            " \n",
            "file a seq 1\n",
            "file a seq 1 type i x\n",
            "filx a seq 1 type i\n",
            "file a seq 0 type i\n",
            "file a seq x type i\n",
            "file a seq 1 type \"\"\n",
            "file \"a seq 1 type i\n",
            "file a\0 seq 1 type i\n\n",
        ] {
            let what = fails(bad.as_bytes()).what;
            if bad.contains('\0') {
                assert_eq!(what, "The AOF manifest file contains too long line");
            } else {
                assert_eq!(what, FORMAT, "{bad:?}");
            }
        }
        let path = "File can't be a path, just a filename";
        refused("file x/a seq 1 type i\n", path);
        refused("file x\\a seq 1 type i\n", path);
        let base = "Found duplicate base file information";
        refused("file a seq 1 type b\nfile b seq 2 type b\n", base);
        let order = "Found a non-monotonic sequence number";
        refused("file a seq 2 type i\nfile b seq 1 type i\n", order);
        refused("file a seq 2 type i\nfile b seq 2 type i\n", order);
        refused("file a seq -2 type i\n", order);
        refused("file a seq 1 type x\n", "Unknown AOF file type");
    }

    #[test]
    fn line_lengths() {
        let line = |len: usize| format!("{:<width$}\n", "file a seq 1 type i", width = len - 1);
        assert_eq!(parse(&line(1024)).increments().len(), 1);
        let long = "The AOF manifest file contains too long line";
        refused(&line(1025), long);
        refused("file a seq 1 type i", long);
        assert_eq!(fails(b"file a seq 1 type i").line, None);
        // What is beyond the limit of a comment is read as a line.
        let comment = format!("#{:1023}file a seq 1 type i\n", "");
        assert_eq!(parse(&comment).increments().len(), 1);
        let comment = format!("#{:1500}\n", "");
        refused(&comment, FORMAT);
    }

    #[test]
    fn messages() {
        let error = fails(b"file a seq 1 type i\n  file b\t\n");
        assert_eq!(
            error.messages(),
            [
                "\n*** FATAL AOF MANIFEST FILE ERROR ***\n",
                "Reading the manifest file, at line 2\n",
                ">>> 'file b'\n",
                "Invalid AOF manifest file format\n",
            ]
        );
        assert_eq!(fails(b"x").messages().len(), 2);
    }

    #[test]
    fn odd_names_are_quoted() {
        let mut manifest = Manifest::default();
        manifest.new_increment(b" a\n\"").unwrap();
        assert_eq!(
            text(&manifest),
            "file \" a\\n\\\".1.incr.aof\" seq 1 type i\n"
        );
        manifest.written();
        assert_eq!(parse(&text(&manifest)), manifest);
    }

    #[test]
    fn rewrites() {
        let stem = b"appendonly.aof";
        let mut manifest = Manifest::default();
        manifest.new_base(stem, true).unwrap();
        manifest.new_increment(stem).unwrap();
        for rdb in [false, true] {
            manifest.new_increment(stem).unwrap();
            manifest.new_base(stem, rdb).unwrap();
            manifest.retire_increments(true);
        }
        assert_eq!(
            text(&manifest),
            "file appendonly.aof.3.base.rdb seq 3 type b\n\
             file appendonly.aof.2.incr.aof seq 2 type h\n\
             file appendonly.aof.2.base.aof seq 2 type h\n\
             file appendonly.aof.1.incr.aof seq 1 type h\n\
             file appendonly.aof.1.base.rdb seq 1 type h\n\
             file appendonly.aof.3.incr.aof seq 3 type i\n"
        );
        manifest.written();
        assert_eq!(parse(&text(&manifest)), manifest);
        assert_eq!(manifest.take_history().len(), 4);
        assert!(manifest.is_dirty());
        manifest.retire_increments(false);
        assert!(manifest.increments().is_empty());
        // The counter goes on although no increment is left.
        assert_eq!(manifest.new_increment(stem).unwrap().seq, 4);
    }

    #[test]
    fn several_increments_retire_in_order() {
        let mut manifest = Manifest::default();
        for _ in 0..4 {
            manifest.new_increment(b"a").unwrap();
        }
        manifest.retire_increments(true);
        let seqs = |entries: &[Entry]| entries.iter().map(|e| e.seq).collect::<Vec<_>>();
        assert_eq!(seqs(manifest.history()), [1, 2, 3]);
        assert_eq!(seqs(manifest.increments()), [4]);
    }

    #[test]
    fn numbers_run_out() {
        let mut manifest = parse("file a seq 99999999999999999999 type i\n");
        assert_eq!(manifest.increments()[0].seq, i64::MAX);
        assert_eq!(manifest.new_increment(b"a"), Err(Exhausted));
        assert_eq!(manifest.increments().len(), 1);
        assert!(!manifest.is_dirty());
    }
}
