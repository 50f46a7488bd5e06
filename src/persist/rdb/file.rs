//! [`Target`]: an RDB file on its way to the disk.
//!
//! It is written under a temporary name and takes its own only when it is whole and safe: a crash,
//! a full disk or a save that is given up leaves the file that was there before.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process;

use super::encode;
use crate::persist::crc64;

/// Chunks shorter than this are gathered.
const BUFFER: usize = 64 << 10;
/// Bytes of `REDIS` and the version.
const SIGNATURE: usize = 9;
/// How much is written between two syncs, where that is asked for.
const SYNC_EVERY: u64 = 4 << 20;

/// Where saving has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The temporary file could not be made.
    Open,
    /// It could not be written.
    Write,
    /// It, or the directory, could not be brought to the disk.
    Sync,
    /// It could not get its name.
    Rename,
}

/// A failure. Its text is the one that Redis logs.
#[derive(Debug)]
pub struct Failure {
    /// Where it happened.
    pub step: Step,
    /// What went wrong.
    pub error: io::Error,
    /// The temporary file.
    temp: PathBuf,
    /// The name that it was to get.
    name: PathBuf,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.error.to_string();
        // Without the number that std adds.
        let error = text.split(" (os error ").next().unwrap_or_default();
        let dir = self.temp.parent().unwrap_or(Path::new("")).display();
        let last = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        let (temp, name) = (last(&self.temp), last(&self.name));
        match self.step {
            Step::Open => write!(
                f,
                "Failed opening the temp RDB file {temp} (in server root dir {dir}) for saving: {error}"
            ),
            Step::Write => write!(f, "Write error saving DB on disk(rdbSaveRio): {error}"),
            Step::Sync => write!(f, "Write error saving DB on disk(fsync): {error}"),
            Step::Rename => write!(
                f,
                "Error moving temp DB file {temp} on the final destination {name} (in server root dir {dir}): {error}"
            ),
        }
    }
}

impl std::error::Error for Failure {}

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether it ends with a checksum.
    pub checksum: bool,
    /// Whether it is synced while it grows, so that the disk is never far behind.
    pub incremental_sync: bool,
}

/// A file that is being written. One that is dropped before [`Target::finish`] is removed.
pub struct Target {
    file: File,
    temp: PathBuf,
    name: PathBuf,
    /// What is still to be written; it is part of `written` and `crc` already.
    buffer: Vec<u8>,
    crc: Option<u64>,
    written: u64,
    /// How much of it the last sync has seen.
    synced: u64,
    incremental: bool,
    /// The version it is to have, if not the one it begins with; 0 for that.
    version: u16,
    /// Whether the temporary file is there.
    unfinished: bool,
}

impl Target {
    /// Begins the file `name` in a directory. Nothing of that name changes yet.
    ///
    /// # Errors
    /// When the temporary file cannot be made.
    pub fn create(dir: &Path, name: &str, options: Options) -> Result<Target, Failure> {
        let temp = temporary(dir);
        let name = dir.join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temp);
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                return Err(Failure {
                    step: Step::Open,
                    error,
                    temp,
                    name,
                });
            }
        };
        Ok(Target {
            file,
            temp,
            name,
            buffer: Vec::with_capacity(BUFFER),
            crc: options.checksum.then_some(0),
            written: 0,
            synced: 0,
            incremental: options.incremental_sync,
            version: 0,
            unfinished: true,
        })
    }

    /// How many bytes the file has so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// When they cannot be written; the file is then of no more use.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        if let Some(crc) = &mut self.crc {
            *crc = crc64::update(*crc, chunk);
        }
        self.append(chunk)
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.written += chunk.len() as u64;
        if self.buffer.len() + chunk.len() > BUFFER {
            self.flush()?;
        }
        if chunk.len() < BUFFER {
            self.buffer.extend_from_slice(chunk);
            return Ok(());
        }
        // So that a very large chunk is synced in pieces as well.
        for piece in chunk.chunks(SYNC_EVERY as usize) {
            self.put(piece)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let buffer = std::mem::take(&mut self.buffer);
        let done = self.put(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        done
    }

    /// Hands bytes to the system.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let done = self.file.write_all(bytes);
        done.map_err(|error| self.failure(Step::Write, error))?;
        self.synced += bytes.len() as u64;
        if self.incremental && self.synced >= SYNC_EVERY {
            self.synced = 0;
            let done = self.file.sync_data();
            done.map_err(|error| self.failure(Step::Sync, error))?;
        }
        Ok(())
    }

    /// Sets the version that the file says it has, which is at most known once all values are in.
    pub fn set_version(&mut self, version: u16) {
        self.version = version;
    }

    /// Writes the version over that which the file begins with.
    fn write_version(&mut self) -> Result<(), Failure> {
        let (mut before, after) = ([0; SIGNATURE], format!("REDIS{:04}", self.version));
        self.flush()?;
        let done = self.file.read_exact_at(&mut before, 0);
        done.map_err(|error| self.failure(Step::Write, error))?;
        if before == after.as_bytes() {
            return Ok(());
        }
        let done = self.file.write_all_at(after.as_bytes(), 0);
        done.map_err(|error| self.failure(Step::Write, error))?;
        if let Some(crc) = &mut self.crc {
            // Checksums are linear: the difference that the beginning makes goes through all that
            // follows it.
            let difference = crc64::checksum(&before) ^ crc64::checksum(after.as_bytes());
            *crc ^= crc64::shift(difference, self.written - SIGNATURE as u64);
        }
        Ok(())
    }

    /// Ends the file, brings it to the disk and gives it its name. Its size.
    ///
    /// # Errors
    /// When any of that fails. Unless it is the sync of the directory, what has the name is then
    /// what had it before.
    pub fn finish(mut self) -> Result<u64, Failure> {
        if self.version != 0 {
            self.write_version()?;
        }
        let mut end = Vec::with_capacity(9);
        encode::end(&mut end, self.crc);
        self.append(&end)?;
        self.flush()?;
        let done = self.file.sync_all();
        done.map_err(|error| self.failure(Step::Sync, error))?;
        let done = fs::rename(&self.temp, &self.name);
        done.map_err(|error| self.failure(Step::Rename, error))?;
        self.unfinished = false;
        let dir = self.temp.parent().filter(|dir| *dir != Path::new(""));
        let dir = File::open(dir.unwrap_or(Path::new(".")));
        let done = dir.and_then(|dir| dir.sync_all());
        done.map_err(|error| self.failure(Step::Sync, error))?;
        Ok(self.written)
    }

    fn failure(&self, step: Step, error: io::Error) -> Failure {
        Failure {
            step,
            error,
            temp: self.temp.clone(),
            name: self.name.clone(),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.unfinished {
            // Nobody is left to be told; the next save takes the same name.
            let _ = fs::remove_file(&self.temp);
        }
    }
}

/// The temporary name that this process uses in a directory.
pub fn temporary(dir: &Path) -> PathBuf {
    dir.join(format!("temp-{}.rdb", process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PLAIN: Options = Options {
        checksum: true,
        incremental_sync: false,
    };

    /// An empty directory that goes when the test ends.
    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Dir {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("stdis-rdb-{}-{number}", process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir_all(&dir).expect("make a directory");
            Dir(dir)
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).expect("list a directory");
            let name = |entry: io::Result<fs::DirEntry>| {
                let name = entry.expect("an entry").file_name();
                name.to_string_lossy().into_owned()
            };
            let mut names: Vec<String> = entries.map(name).collect();
            names.sort();
            names
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn chunks_of_any_size_make_one_file() {
        for (checksum, incremental_sync) in [(true, false), (false, true), (true, true)] {
            let dir = Dir::new();
            let options = Options {
                checksum,
                incremental_sync,
            };
            fs::write(dir.0.join("dump.rdb"), "old").expect("write a file");
            let mut target = Target::create(&dir.0, "dump.rdb", options).expect("a target");
            let mut all = Vec::new();
            for size in [
                0,
                1,
                9,
                BUFFER - 10,
                1,
                BUFFER,
                5,
                9 << 20,
                BUFFER + 1,
                3,
                3000,
            ] {
                let chunk: Vec<u8> = (0..size).map(|n| (n * 7 + size) as u8).collect();
                target.write(&chunk).expect("room on the disk");
                all.extend(chunk);
                assert_eq!(target.written(), all.len() as u64);
            }
            assert_eq!(fs::read(dir.0.join("dump.rdb")).expect("a file"), b"old");
            let size = target.finish().expect("finished");
            let crc = checksum.then(|| crc64::checksum(&all));
            encode::end(&mut all, crc);
            assert_eq!(size, all.len() as u64);
            assert!(fs::read(dir.0.join("dump.rdb")).expect("a file") == all);
            assert_eq!(dir.files(), ["dump.rdb"]);
            let zero = all.ends_with(&[0; 8]);
            assert_eq!(zero, !checksum);
        }
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let dir = Dir::new();
        fs::write(dir.0.join("dump.rdb"), "old").expect("write a file");
        let mut target = Target::create(&dir.0, "dump.rdb", PLAIN).expect("a target");
        target.write(&[1; 100_000]).expect("room on the disk");
        assert_eq!(dir.files().len(), 2);
        drop(target);
        assert_eq!(dir.files(), ["dump.rdb"]);
        assert_eq!(fs::read(dir.0.join("dump.rdb")).expect("a file"), b"old");
    }

    #[test]
    fn failures_are_told_apart_and_leave_nothing() {
        let dir = Dir::new();
        let none = dir.0.join("none");
        let failure = Target::create(&none, "dump.rdb", PLAIN).err();
        let failure = failure.expect("there is no such directory");
        assert_eq!(failure.step, Step::Open);
        assert_eq!(
            failure.to_string(),
            format!(
                "Failed opening the temp RDB file temp-{}.rdb (in server root dir {}) for saving: {}",
                process::id(),
                none.display(),
                "No such file or directory"
            )
        );

        // A directory that is not empty cannot be replaced.
        fs::create_dir_all(none.join("in")).expect("make a directory");
        let target = Target::create(&dir.0, "none", PLAIN).expect("a target");
        let failure = target.finish().expect_err("the name is taken");
        assert_eq!(failure.step, Step::Rename);
        assert!(failure.to_string().contains("final destination none (in"));
        assert_eq!(dir.files(), ["none"]);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        // A device that is always full, in the place of the temporary file.
        let dir = Dir::new();
        for size in [10, BUFFER, 3 * BUFFER] {
            std::os::unix::fs::symlink("/dev/full", temporary(&dir.0)).expect("a link");
            let mut target = Target::create(&dir.0, "dump.rdb", PLAIN).expect("a target");
            let written = target.write(&vec![1; size]);
            let failure = match written {
                Ok(()) => target.finish().expect_err("the disk is full"),
                Err(failure) => {
                    drop(target);
                    failure
                }
            };
            assert_eq!(failure.step, Step::Write);
            assert_eq!(failure.error.kind(), io::ErrorKind::StorageFull);
            assert_eq!(dir.files(), [""; 0]);
        }
    }
}
