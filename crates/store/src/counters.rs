//! The file in which usage counters live: words that stay when the process dies.
//!
//! A [`CounterFile`] is opened with what a former process left in it. When that has been taken over, [`CounterFile::begin`]
//! empties it and gives out the words to count in. What the words mean, this module does not know.
//!
//! The first page of the file is its header: a magic number, written last, the version of this header, the sixteen bytes
//! that say which database is counted for, and how many words follow. A file is emptied by cutting it to nothing, so whoever dies
//! in the middle of that, or before the magic number stands, leaves a file with nothing in it. The space on the disk is
//! reserved before anything is mapped: a full disk is an error of [`CounterFile::begin`] and never a signal later. (On
//! file systems that copy on write, such as Btrfs and ZFS, nobody can promise that.)

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use self::map::Map;

/// `clv-file` as a number.
const MAGIC: u64 = u64::from_le_bytes(*b"clv-file");
const VERSION: u64 = 1;
const WORD_BYTES: u64 = 8;
const HEADER_WORDS: usize = 512;

/// The file, locked, with what it had in it.
#[derive(Debug)]
pub struct CounterFile {
    path: PathBuf,
    file: File,
    database: [u8; 16],
    found: Option<Map>,
}

/// What a former process left in the file.
#[derive(Clone, Copy, Debug)]
pub enum LeftBehind<'a> {
    /// Nothing: the file is new, or was being emptied.
    Nothing,
    /// Its words.
    Words(&'a [AtomicU64]),
    /// Words that were counted for another database, this one.
    OfAnotherDatabase([u8; 16]),
    /// Something else: not a file of this version, or only a part of one.
    Unreadable,
}

/// The words to count in, zero at first. They stay mapped and the file locked until this is dropped.
#[derive(Debug)]
pub struct CounterWords {
    map: Map,
    // Holds the lock.
    _file: File,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CounterFileError {
    /// Another process counts in it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// There is something that is not a plain file of our own.
    #[error("{} is not a plain file that belongs to this user alone", .0.display())]
    NotPlain(PathBuf),
    /// The system refused.
    #[error("{}: {doing}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed; a full disk among other reasons.
        source: io::Error,
    },
}

impl CounterFile {
    /// Opens the file, or creates it, readable by its owner only, and locks it. A symbolic link is not followed.
    /// `database` says for which database it is counted.
    ///
    /// # Errors
    /// When it is in use, not a plain file, or cannot be read.
    pub fn open(path: &Path, database: [u8; 16]) -> Result<Self, CounterFileError> {
        let failed = |doing| move |source| CounterFileError::Io { path: path.to_owned(), doing, source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        // A descriptor of the standard library is closed on exec by itself.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
        let file = match opened {
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(CounterFileError::NotPlain(path.to_owned()));
            }
            opened => opened.map_err(failed("it cannot be opened"))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CounterFileError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("it cannot be locked")(error)),
        }
        let metadata = file.metadata().map_err(failed("it cannot be inspected"))?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(CounterFileError::NotPlain(path.to_owned()));
        }
        if metadata.mode() & 0o777 != 0o600 {
            file.set_permissions(Permissions::from_mode(0o600)).map_err(failed("its permissions cannot be set"))?;
        }
        let found = if metadata.len() == 0 {
            None
        } else {
            Some(Map::new(&file, metadata.len()).map_err(failed("it cannot be mapped"))?)
        };
        Ok(Self { path: path.to_owned(), file, database, found })
    }

    /// What was in the file when it was opened.
    pub fn left_behind(&self) -> LeftBehind<'_> {
        let Some(words) = self.found.as_ref().map(Map::words) else { return LeftBehind::Nothing };
        let Some((header, words)) = words.split_at_checked(HEADER_WORDS) else { return LeftBehind::Unreadable };
        let [magic, version, high, low, count] = [0, 1, 2, 3, 4].map(|word| header[word].load(Ordering::Acquire));
        if magic == 0 {
            return LeftBehind::Nothing;
        }
        if (magic, version, count) != (MAGIC, VERSION, words.len() as u64) {
            return LeftBehind::Unreadable;
        }
        if [high, low] != halves(self.database) {
            let other = u128::from(high) << 64 | u128::from(low);
            return LeftBehind::OfAnotherDatabase(other.to_be_bytes());
        }
        LeftBehind::Words(words)
    }

    /// Empties the file and gives it this many words. Whatever was left behind is gone.
    ///
    /// # Errors
    /// When there is no room on the disk, among other things. The file is empty then.
    pub fn begin(self, words: usize) -> Result<CounterWords, CounterFileError> {
        let Self { path, file, database, found } = self;
        drop(found);
        let bytes = (HEADER_WORDS + words) as u64 * WORD_BYTES;
        let prepare = || {
            file.set_len(0)?;
            reserve(&file, bytes)?;
            Map::new(&file, bytes)
        };
        let map = prepare().map_err(|source| {
            // Nothing half made, which would be taken for something else.
            let emptied = file.set_len(0);
            let source = emptied.err().unwrap_or(source);
            CounterFileError::Io { path: path.clone(), doing: "its space cannot be reserved", source }
        })?;
        let [high, low] = halves(database);
        for (word, value) in map.words().iter().zip([MAGIC, VERSION, high, low, words as u64]).rev() {
            word.store(value, Ordering::Release);
        }
        let written = map.flush();
        written.map_err(|source| CounterFileError::Io { path, doing: "it cannot be written", source })?;
        Ok(CounterWords { map, _file: file })
    }
}

impl AsRef<[AtomicU64]> for CounterWords {
    fn as_ref(&self) -> &[AtomicU64] {
        &self.map.words()[HEADER_WORDS..]
    }
}

/// Makes the empty file this long, of zeros, with its space on the disk.
fn reserve(mut file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            // A file system that reserves nothing: what was written has its space.
            let zeros = vec![0; 1 << 16];
            let mut left = bytes;
            while left > 0 {
                let size = left.min(zeros.len() as u64);
                file.write_all(&zeros[..size as usize])?;
                left -= size;
            }
            file.sync_all()
        }
        Err(error) => Err(error.into()),
    }
}

fn halves(database: [u8; 16]) -> [u64; 2] {
    let number = u128::from_be_bytes(database);
    [(number >> 64) as u64, number as u64]
}

/// The memory map, and all `unsafe` that there is.
mod map {
    #![allow(unsafe_code, reason = "a memory map is nothing that the compiler knows of")]
    #![allow(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]

    use std::fs::File;
    use std::io;
    use std::sync::atomic::AtomicU64;

    use memmap2::{MmapOptions, MmapRaw};

    /// A shared mapping of a file, as words.
    #[derive(Debug)]
    pub(super) struct Map(MmapRaw);

    impl Map {
        /// Maps this many bytes of the file, which has at least as many.
        pub(super) fn new(file: &File, bytes: u64) -> io::Result<Self> {
            let length = usize::try_from(bytes).map_err(io::Error::other)?;
            Ok(Self(MmapOptions::new().len(length).map_raw(file)?))
        }

        /// The whole words of it.
        pub(super) fn words(&self) -> &[AtomicU64] {
            let count = self.0.len() / size_of::<AtomicU64>();
            // SAFETY: the mapping begins at a page, so it is aligned, it has `count` words and lives as long as `self`,
            // which the slice borrows. It is shared, readable and writable. All bits make a valid `AtomicU64`, and all
            // access in this process is by these atomics, which are not bothered by what another process that has the file
            // mapped does. (Nobody should: the file is locked and its owner's alone. Who cuts the file short while it
            // is mapped gets this process a signal, not a wrong value.)
            unsafe { std::slice::from_raw_parts(self.0.as_mut_ptr().cast::<AtomicU64>(), count) }
        }

        /// Has the system write it to the disk.
        pub(super) fn flush(&self) -> io::Result<()> {
            self.0.flush()
        }
    }
}
