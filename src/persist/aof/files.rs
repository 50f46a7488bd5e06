//! The folder of an append only file: what is created, renamed and deleted, and in which order, so
//! that a crash at any moment leaves files that load.
//!
//! The rule behind the order: a file that the manifest names exists before the manifest says so,
//! and a file that it does not need any more is deleted after the manifest has ceased to load it.
//! The manifest itself is written under another name, synced, and renamed into place.
//!
//! Data is not written here: callers get the [`File`] of the increment to append to, and a base is
//! made by a closure or under a temporary name. Nothing runs in the background and nothing is
//! locked; [`Hooks`] connect the log and whoever closes deleted files. Texts are those that Redis
//! logs, so that tools and people who know them recognise what happens.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::manifest::{Entry, Exhausted, Invalid, Manifest};

#[cfg(test)]
mod tests;

/// How much a message matters to those who read the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// For development.
    Debug,
    /// Normal, and good to know.
    Notice,
    /// Something is wrong.
    Warning,
}

/// What the floors above provide.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Takes a line for the log.
    pub log: fn(Severity, &str),
    /// Closes a file that has been deleted. Freeing a large file takes time, so it is better done
    /// by a thread that serves nobody.
    pub discard: fn(File),
}

/// An operation has failed; the log has been told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// Whether commands are kept, as far as the folder is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They are not. A rewrite leaves a base and no increment.
    Off,
    /// They go to the last increment of the manifest.
    On,
    /// They have just been switched on, and go to a temporary increment until the first rewrite
    /// has made a base to go with it.
    Waiting,
}

/// What is to be loaded at start.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// There is no append only file.
    Nothing,
    /// These files, in this order. `total` is 0 if all are empty: there is nothing to read then.
    Load {
        /// Each file.
        parts: Vec<Part>,
        /// Bytes of all of them.
        total: u64,
    },
}

/// One file that is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name, without a path.
    pub name: Vec<u8>,
    /// Whether it is the base.
    pub base: bool,
    /// Whether nothing is behind it, as in the last, and in an increment with none but empty ones
    /// behind it: a new one is named in the manifest while the one before is still written to. Only
    /// such a part may end in the middle of a command.
    pub last: bool,
    /// Bytes it has.
    pub size: u64,
}

/// An increment that is ready to be appended to.
#[derive(Debug)]
pub struct Opened {
    /// Writes go to its end.
    pub file: File,
    /// Bytes it has.
    pub size: u64,
}

/// The files of one server's append only file.
pub struct Files {
    root: PathBuf,
    folder: Vec<u8>,
    stem: Vec<u8>,
    hooks: Hooks,
    manifest: Manifest,
}

// ---------------------------------------------------------------- start

impl Files {
    /// The append only file `stem` (`appendfilename`) in the folder `folder` (`appenddirname`)
    /// under `root`, which is empty for the working directory. Reads the manifest if there is one;
    /// writes nothing.
    ///
    /// # Errors
    /// When there is a manifest that cannot be read. Redis exits then, even if it is not to keep
    /// an append only file.
    pub fn open(root: &Path, folder: &[u8], stem: &[u8], hooks: Hooks) -> Result<Files, Failed> {
        let mut files = Files {
            root: root.to_path_buf(),
            folder: folder.to_vec(),
            stem: stem.to_vec(),
            hooks,
            manifest: Manifest::default(),
        };
        files.reload()?;
        Ok(files)
    }

    /// Reads the manifest again; none is an empty one.
    ///
    /// # Errors
    /// As [`Files::open`]; the manifest stays what it was.
    pub fn reload(&mut self) -> Result<(), Failed> {
        if !self.folder_path().is_dir() {
            let folder = show(&self.folder);
            self.debug(format!("The AOF directory {folder} doesn't exist"));
            self.manifest = Manifest::default();
            return Ok(());
        }
        let name = self.manifest_name();
        let path = self.path(&name);
        if !path.is_file() {
            let name = show(&name);
            self.debug(format!("The AOF manifest file {name} doesn't exist"));
            self.manifest = Manifest::default();
            return Ok(());
        }
        let mut file = File::open(&path).map_err(|error| {
            self.warn(format!(
                "Fatal error: can't open the AOF manifest file {} for reading: {}",
                self.shown(&name),
                reason(&error)
            ))
        })?;
        let mut text = Vec::new();
        let parsed = match io::Read::read_to_end(&mut file, &mut text) {
            Ok(_) => Manifest::parse(&text),
            Err(_) => Err(Invalid::whole("Read AOF manifest failed")),
        };
        self.manifest = parsed.map_err(|invalid| {
            for message in invalid.messages() {
                self.warn(message);
            }
            Failed
        })?;
        Ok(())
    }

    /// Says what is to be loaded. A single file that an old version has left in the root is moved
    /// into the folder first, as the base.
    ///
    /// # Errors
    /// When the move fails, or a file that the manifest names is not there.
    pub fn plan(&mut self) -> Result<Plan, Failed> {
        if self.must_upgrade() {
            self.upgrade()?;
        }
        if self.manifest.is_empty() {
            return Ok(Plan::Nothing);
        }
        let count = self.manifest.files().count();
        let mut parts = Vec::with_capacity(count);
        for (i, entry) in self.manifest.files().enumerate() {
            parts.push(Part {
                name: entry.name.clone(),
                base: i == 0 && self.manifest.base().is_some(),
                last: i + 1 == count,
                size: self.size(&entry.name)?,
            });
        }
        let filled = parts.iter().rposition(|part| part.size > 0);
        if let Some(part) = filled.map(|at| &mut parts[at])
            && !part.base
        {
            part.last = true;
        }
        let total = parts.iter().map(|part| part.size).sum();
        Ok(Plan::Load { parts, total })
    }

    /// Whether the root has a single file of an old version that is not in use yet. It is also
    /// taken up when an upgrade was interrupted: the manifest names it then, but it has not been
    /// moved.
    fn must_upgrade(&self) -> bool {
        if !self.root.join(os(&self.stem)).is_file() {
            return false;
        }
        let interrupted = || {
            self.manifest.increments().is_empty()
                && self.manifest.base().is_some_and(|b| b.name == self.stem)
                && !self.path(&self.stem).is_file()
        };
        !self.folder_path().is_dir() || self.manifest.is_empty() || interrupted()
    }

    /// Writes a manifest that names the old file as the base, then moves the file. If the latter
    /// does not happen, the next start finds both and continues.
    fn upgrade(&mut self) -> Result<(), Failed> {
        self.create_folder()?;
        let (old, new) = (self.root.join(os(&self.stem)), self.path(&self.stem));
        let (stem, folder) = (show(&self.stem), show(&self.folder));
        let moving = format!("Error trying to move the old AOF file {stem} into dir {folder}");
        if new.exists() {
            return Err(self.warn(format!("{moving}: a file of that name is there")));
        }
        let mut manifest = self.manifest.clone();
        manifest.adopt_base(&self.stem);
        self.persist(&mut manifest).map_err(|_| Failed)?;
        self.manifest = manifest;
        if let Err(error) = fs::rename(&old, &new) {
            return Err(self.warn(format!("{moving}: {}", reason(&error))));
        }
        // Both folders have changed; without this the move could be lost, which the next start
        // would mend as long as no increment has been added.
        let _ = sync_folder(&self.folder_path());
        let _ = sync_folder(old.parent().unwrap_or(Path::new("")));
        self.notice(format!(
            "Successfully migrated an old-style AOF file ({stem}) into the AOF directory ({folder})."
        ));
        Ok(())
    }

    /// Opens a file for loading.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn open_part(&self, part: &Part) -> Result<File, Failed> {
        File::open(self.path(&part.name)).map_err(|error| {
            let (name, why) = (show(&part.name), reason(&error));
            self.warn(if error.kind() == ErrorKind::NotFound {
                format!("The append log file {name} doesn't exist: {why}")
            } else {
                format!("Fatal error: can't open the append log file {name} for reading: {why}")
            })
        })
    }

    /// Cuts off the tail of a file from `offset` on, since a command there is not whole.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn truncate(&self, part: &Part, offset: u64) -> Result<(), Failed> {
        let name = show(&part.name);
        self.warn(format!(
            "!!! Warning: short read while loading the AOF file {name}!!!"
        ));
        self.warn(format!(
            "!!! Truncating the AOF {name} at offset {offset} !!!"
        ));
        let file = OpenOptions::new().write(true).open(self.path(&part.name));
        if let Err(error) = file.and_then(|file| file.set_len(offset)) {
            let why = reason(&error);
            return Err(self.warn(format!("Error truncating the AOF file {name}: {why}")));
        }
        self.warn(format!(
            "AOF {name} loaded anyway because aof-load-truncated is enabled"
        ));
        Ok(())
    }

    /// After loading, readies the folder for [`State::On`]: creates it, makes a first base (of
    /// which `write_base` writes the contents) if the manifest names nothing, and opens the last
    /// increment or creates the first.
    ///
    /// # Errors
    /// When anything fails. Redis exits then.
    pub fn open_at_start(
        &mut self,
        rdb: bool,
        write_base: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<Opened, Failed> {
        self.create_folder()?;
        let mut manifest = self.manifest.clone();
        if manifest.is_empty() {
            let base = self.named(manifest.new_base(&self.stem, rdb))?;
            let temp = self.root.join(temp_base_name(false));
            if let Err(error) = write_file(&temp, write_base) {
                let _ = fs::remove_file(&temp);
                let why = reason(&error);
                return Err(self.warn(format!(
                    "Write error writing append only file on disk: {why}"
                )));
            }
            if let Err(error) = fs::rename(&temp, self.path(&base)) {
                let _ = fs::remove_file(&temp);
                let why = reason(&error);
                return Err(self.warn(format!(
                    "Error moving temp append only file on the final destination: {why}"
                )));
            }
            let base = show(&base);
            self.notice(format!("Creating AOF base file {base} on server start"));
        }
        let (name, verb) = match manifest.increments().last() {
            Some(last) => (last.name.clone(), "Opening"),
            None => {
                let name = self.named(manifest.new_increment(&self.stem))?;
                (name, "Creating")
            }
        };
        let file = self.open_increment(&name)?;
        self.persist(&mut manifest).map_err(|_| Failed)?;
        self.manifest = manifest;
        let size = self.size(&name).unwrap_or(0);
        let name = show(&name);
        self.notice(format!("{verb} AOF incr file {name} on server start"));
        Ok(Opened { file, size })
    }
}

// ---------------------------------------------------------------- rewriting

impl Files {
    /// A rewrite is about to take its view of the data set: gives the increment for commands from
    /// then on, none in [`State::Off`]. In [`State::On`] the manifest names it at once, so that it
    /// is loaded if the rewrite fails.
    ///
    /// # Errors
    /// When the increment cannot be had; the one before stays in use.
    pub fn begin_rewrite(&mut self, state: State) -> Result<Option<File>, Failed> {
        self.create_folder()?;
        let (name, manifest) = match state {
            State::Off => return Ok(None),
            State::Waiting => (self.temp_increment_name(), None),
            State::On => {
                let mut manifest = self.manifest.clone();
                let name = self.named(manifest.new_increment(&self.stem))?;
                (name, Some(manifest))
            }
        };
        let file = self.open_increment(&name)?;
        // A file of that name may be left of an earlier try.
        if let Err(error) = file.set_len(0) {
            return Err(self.cannot_open(&name, &error));
        }
        if let Some(mut manifest) = manifest {
            self.persist(&mut manifest).map_err(|_| Failed)?;
            self.manifest = manifest;
        }
        let name = show(&name);
        self.notice(format!(
            "Creating AOF incr file {name} on background rewrite"
        ));
        Ok(Some(file))
    }

    /// A rewrite has written the data set to `temp_base`, synced: makes it the base, gives the
    /// temporary increment of [`State::Waiting`] its name, and retires what the base replaces.
    /// Unless `keep_history`, that is deleted. Returns the size of the base.
    ///
    /// # Errors
    /// When that fails; what was loaded before is loaded still, and the temporary files are gone.
    pub fn finish_rewrite(
        &mut self,
        temp_base: &Path,
        state: State,
        rdb: bool,
        keep_history: bool,
    ) -> Result<u64, Failed> {
        self.notice("Background AOF rewrite terminated with success".into());
        match self.install(temp_base, state, rdb) {
            Ok(base) => {
                let size = self.size(&base).unwrap_or(0);
                if !keep_history {
                    // Files that stay are in nobody's way; the next rewrite tries again.
                    let _ = self.delete_history();
                }
                self.notice("Background AOF rewrite finished successfully".into());
                Ok(size)
            }
            Err(Failed) => {
                self.abandon_rewrite(temp_base, state);
                Err(Failed)
            }
        }
    }

    /// The steps of [`Files::finish_rewrite`] up to the manifest. Returns the name of the base.
    fn install(&mut self, temp_base: &Path, state: State, rdb: bool) -> Result<Vec<u8>, Failed> {
        let mut manifest = self.manifest.clone();
        let base = self.named(manifest.new_base(&self.stem, rdb))?;
        let from = temp_base.strip_prefix(&self.root).unwrap_or(temp_base);
        let from = from.display().to_string();
        self.rename("base", temp_base, &from, &from, &base)?;
        let mut created = vec![self.path(&base)];

        if state == State::Waiting {
            let temp = self.temp_increment_name();
            let named = self.named(manifest.new_increment(&self.stem));
            let renamed = named.and_then(|name| {
                let (path, shown) = (self.path(&temp), self.shown(&temp));
                self.rename("incr", &path, &shown, &show(&temp), &name)?;
                Ok(name)
            });
            match renamed {
                Ok(name) => created.push(self.path(&name)),
                Err(Failed) => {
                    created.iter().for_each(|path| self.delete(path));
                    return Err(Failed);
                }
            }
        }
        manifest.retire_increments(state != State::Off);
        match self.persist(&mut manifest) {
            Ok(()) => {
                self.manifest = manifest;
                Ok(base)
            }
            Err(unsaved) => {
                // Once the new manifest has its name, it is what a start would read: the files it
                // names must stay.
                if !unsaved.in_place {
                    created.iter().for_each(|path| self.delete(path));
                }
                Err(Failed)
            }
        }
    }

    /// Gives a temporary file its name in the folder. The log shows it as `from`, and as `long` in
    /// an error.
    fn rename(
        &self,
        kind: &str,
        temp: &Path,
        long: &str,
        from: &str,
        name: &[u8],
    ) -> Result<(), Failed> {
        fs::rename(temp, self.path(name)).map_err(|error| {
            self.warn(format!(
                "Error trying to rename the temporary AOF {kind} file {long} into {}: {}",
                self.shown(name),
                reason(&error)
            ))
        })?;
        self.notice(format!(
            "Successfully renamed the temporary AOF {kind} file {from} into {}",
            show(name)
        ));
        Ok(())
    }

    /// A rewrite has failed or been stopped: deletes what it has written, and in
    /// [`State::Waiting`] the temporary increment, which is of no use without its base.
    pub fn abandon_rewrite(&self, temp_base: &Path, state: State) {
        self.delete(temp_base);
        if state == State::Waiting {
            let name = self.temp_increment_name();
            self.notice(format!(
                "Removing the temp incr aof file {} in the background",
                show(&name)
            ));
            self.delete(&self.path(&name));
        }
    }

    /// Deletes files that have been replaced, and forgets them. To be called after loading, and
    /// when `aof-disable-auto-gc` is switched off.
    ///
    /// # Errors
    /// When the manifest cannot be written. It names files then that do not exist, which does no
    /// harm: history is not loaded.
    pub fn delete_history(&mut self) -> Result<(), Failed> {
        let mut manifest = self.manifest.clone();
        let history = manifest.take_history();
        if history.is_empty() {
            return Ok(());
        }
        for Entry { name, .. } in &history {
            self.notice(format!(
                "Removing the history file {} in the background",
                show(name)
            ));
            // A base or increment may have the same name if somebody has edited the manifest.
            if manifest.files().all(|entry| entry.name != *name) {
                self.delete(&self.path(name));
            }
        }
        let persisted = self.persist(&mut manifest).map_err(|_| Failed);
        self.manifest = manifest;
        persisted
    }
}

// ---------------------------------------------------------------- names and paths

impl Files {
    /// The manifest as it is in memory, which is as it is on disk.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a file of the folder is.
    pub fn path(&self, name: &[u8]) -> PathBuf {
        self.folder_path().join(os(name))
    }

    /// Where a rewrite writes the next base, to be handed to [`Files::finish_rewrite`].
    pub fn temp_base(&self) -> PathBuf {
        self.root.join(temp_base_name(true))
    }

    /// Whether a file's name is the one that versions with a single file used.
    pub fn is_old_style(&self, part: &Part) -> bool {
        part.name == self.stem
    }

    /// The length of a file of the folder.
    ///
    /// # Errors
    /// When it cannot be learnt, above all because there is no such file.
    pub fn size(&self, name: &[u8]) -> Result<u64, Failed> {
        match fs::metadata(self.path(name)) {
            Ok(data) => Ok(data.len()),
            Err(error) => Err(self.warn(format!(
                "Unable to obtain the AOF file {} length. stat: {}",
                show(name),
                reason(&error)
            ))),
        }
    }

    fn folder_path(&self) -> PathBuf {
        self.root.join(os(&self.folder))
    }

    /// A file of the folder as the log shows it.
    fn shown(&self, name: &[u8]) -> String {
        format!("{}/{}", show(&self.folder), show(name))
    }

    fn manifest_name(&self) -> Vec<u8> {
        [&self.stem[..], b".manifest"].concat()
    }

    fn temp_increment_name(&self) -> Vec<u8> {
        [b"temp-", &self.stem[..], b".incr"].concat()
    }

    /// The name that a manifest has given to a new file.
    fn named(&self, entry: Result<&Entry, Exhausted>) -> Result<Vec<u8>, Failed> {
        match entry {
            Ok(entry) => Ok(entry.name.clone()),
            Err(exhausted) => Err(self.warn(exhausted.to_string())),
        }
    }
}

// ---------------------------------------------------------------- steps

/// Why a manifest has not been saved for certain.
struct Unsaved {
    /// Whether it has its name nevertheless, and only the folder could not be synced.
    in_place: bool,
}

impl Files {
    fn create_folder(&self) -> Result<(), Failed> {
        let path = self.folder_path();
        let made = match DirBuilder::new().mode(0o755).create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if path.is_dir() {
                    Ok(())
                } else {
                    Err(io::Error::from(ErrorKind::NotADirectory))
                }
            }
            made => made,
        };
        made.map_err(|error| {
            self.warn(format!(
                "Can't open or create append-only dir {}: {}",
                show(&self.folder),
                reason(&error)
            ))
        })
    }

    /// Appends always: what is cut off after a failed write leaves no gap.
    fn open_increment(&self, name: &[u8]) -> Result<File, Failed> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644);
        let opened = options.open(self.path(name));
        opened.map_err(|error| self.cannot_open(name, &error))
    }

    fn cannot_open(&self, name: &[u8], error: &io::Error) -> Failed {
        let (name, why) = (show(name), reason(error));
        self.warn(format!("Can't open the append-only file {name}: {why}"))
    }

    /// Saves a manifest that has changed.
    fn persist(&self, manifest: &mut Manifest) -> Result<(), Unsaved> {
        if !manifest.is_dirty() {
            return Ok(());
        }
        self.save(&manifest.format())?;
        manifest.written();
        Ok(())
    }

    fn save(&self, text: &[u8]) -> Result<(), Unsaved> {
        let name = self.manifest_name();
        let temp = [b"temp-", &name[..]].concat();
        let (path, temp_path) = (self.path(&name), self.path(&temp));
        let (name, temp) = (show(&name), show(&temp));
        let unsaved = |in_place, message: String| {
            self.warn(message);
            Unsaved { in_place }
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        let mut file = options.open(&temp_path).map_err(|error| {
            let why = reason(&error);
            unsaved(
                false,
                format!("Can't open the AOF manifest file {temp}: {why}"),
            )
        })?;
        file.write_all(text).map_err(|error| {
            let why = reason(&error);
            let what = "Error trying to write the temporary AOF manifest file";
            unsaved(false, format!("{what} {temp}: {why}"))
        })?;
        file.sync_data().map_err(|error| {
            let why = reason(&error);
            unsaved(
                false,
                format!("Fail to fsync the temp AOF file {temp}: {why}."),
            )
        })?;
        fs::rename(&temp_path, &path).map_err(|error| {
            let why = reason(&error);
            let what = "Error trying to rename the temporary AOF manifest file";
            unsaved(false, format!("{what} {temp} into {name}: {why}"))
        })?;
        sync_folder(&self.folder_path()).map_err(|error| {
            let (folder, why) = (show(&self.folder), reason(&error));
            unsaved(
                true,
                format!("Fail to fsync AOF directory {folder}: {why}."),
            )
        })
    }

    /// Deletes a file if it is there, and leaves its closing to others.
    fn delete(&self, path: &Path) {
        // Opening anything but a plain file could wait for another process.
        let file = path.is_file().then(|| File::open(path));
        let _ = fs::remove_file(path);
        if let Some(Ok(file)) = file {
            (self.hooks.discard)(file);
        }
    }

    fn debug(&self, message: String) {
        (self.hooks.log)(Severity::Debug, &message);
    }

    fn notice(&self, message: String) {
        (self.hooks.log)(Severity::Notice, &message);
    }

    fn warn(&self, message: String) -> Failed {
        (self.hooks.log)(Severity::Warning, &message);
        Failed
    }
}

/// Creates a file, has its contents written, and syncs it: what a base must be before it is given
/// its name.
///
/// # Errors
/// The first of any step. The file is then to be deleted.
pub fn write_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    let mut file = options.open(path)?;
    write(&mut file)?;
    file.sync_data()
}

/// The name a base has until it is whole: of a background rewrite, or of the first start.
fn temp_base_name(background: bool) -> String {
    let kind = if background { "bg-" } else { "" };
    format!("temp-rewriteaof-{kind}{}.aof", std::process::id())
}

/// Makes renames in a folder last. Some file systems cannot, and need not.
fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    match File::open(path)?.sync_all() {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

fn show(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

/// An error as the C library describes it.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_string(),
        // Not from the system; std describes these kinds in lower case.
        None if error.kind() == ErrorKind::NotADirectory => "Not a directory".into(),
        None => text,
    }
}
