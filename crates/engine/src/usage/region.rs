//! The words that the counts live in, and where in them everything stands.
//!
//! All that must outlive the process is one slice of words, the *region*, which the engine is given: it may be the memory
//! map of a file. A region begins as zeros, and belongs to one engine. After that engine has died,
//! [`recover`](super::recover()) reads it.
//!
//! | words | hold |
//! |---|---|
//! | 0 | [`MAGIC`], written last |
//! | 1 | [`LAYOUT`], the version of this table |
//! | 2 | cells of a table, a power of two or zero |
//! | 3 | the incarnation, which the caller chose |
//! | 4 | accounts whose lines stand here |
//! | 5 | cells of rate limits |
//! | 8-10 | state of each hour table: its hour, and whether it is open or closed |
//! | from 16 | the cells of the three tables, one table after the other: a tag and a count each |
//! | then | the key ids of the three tables, two words for each cell in the same order |
//! | then | names of scopes, see [`scope_names`](super::scope_names) |
//! | then | entries of the ledger, six words each, see [`ledger`](super::ledger) |
//! | then | for each api, whose rate limit the meters of its accounts are of, see [`limits`](crate::limits) |
//! | then | [accounts](crate::accounts), eight words each |
//! | then | [cells](crate::limits) of rate limits, four words each |
//!
//! Version 1 ended with the ledger, of which it had more, and had zeros in the words 4 and 5.
//!
//! A `kill -9` ends a program between any two of its instructions, but takes back no store that was made: what follows
//! finds the words as the dead process would have found them. So every rule here is about the order of stores.
//! A machine that loses its power keeps what the system had written until then, a page at a time; key ids are therefore
//! kept so that those of another cell's content make no sense, and everything else carries a check.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use yoke::Yoke;

use crate::engine::EngineOptions;
use crate::sync::{AtomicU64, Ordering};

/// Words that outlive whoever counts in them: the owner of a memory map, say. It must always return the same slice.
pub type Words = Arc<dyn AsRef<[AtomicU64]> + Send + Sync>;

/// A piece of the region, which keeps the whole alive.
pub(crate) type Part<T> = Yoke<&'static T, Words>;

/// `counters` as a number.
const MAGIC: u64 = u64::from_le_bytes(*b"counters");
const LAYOUT: u64 = 2;
/// The layout that had no limits.
const LAYOUT_WITHOUT_LIMITS: u64 = 1;
const HEADER_WORDS: usize = 16;
const STATES: usize = 8;
/// Hour tables.
pub(crate) const TABLES: usize = 3;
/// Most cells of a table. More would not fit into the memory of any machine.
const CELLS_MAX: u64 = 1 << 32;
/// Words of an entry of the ledger.
pub(crate) const ENTRY_WORDS: usize = 6;
/// Words of the least area for names: room for some two hundred long ones.
const NAME_WORDS_MIN: usize = if cfg!(loom) { 0 } else { 2048 };
/// And of the largest, from which on more cells do not mean more names.
const NAME_WORDS_MAX: usize = 1 << 16;
/// Most entries of the ledger.
const ENTRIES_MAX: usize = 1 << 16;
/// Apis whose rate limits are found again.
const METERED_APIS: usize = if cfg!(loom) { 0 } else { 1024 };
/// Most accounts whose lines stand in the region: a megabyte for each 16,384.
const ACCOUNTS_MAX: usize = 1 << 20;
/// Fewest and most cells of rate limits.
const LIMIT_CELLS_MIN: usize = 16;
const LIMIT_CELLS_MAX: usize = 1 << 18;
/// Words of an account's line, and of a cell.
const ACCOUNT_WORDS: usize = 8;
const LIMIT_CELL_WORDS: usize = 4;

/// Where everything stands in a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    version: u64,
    cells: usize,
    accounts: usize,
    limit_cells: usize,
}

impl Layout {
    /// For an engine of this size. What is counted by powers of two is rounded up to one.
    pub(crate) fn of(options: EngineOptions) -> Self {
        let EngineOptions { usage_cells, keys } = options;
        let least = if cfg!(loom) { 2 } else { 64 };
        let cells = if usage_cells == 0 { 0 } else { usage_cells.next_power_of_two().max(least) };
        // An organization has a few keys, and of keys that have a limit for themselves most are idle.
        let accounts = if cfg!(loom) { 0 } else { (keys / 2).min(ACCOUNTS_MAX).max(cells / 4).next_power_of_two() };
        let limit_cells = if cfg!(loom) { 0 } else { (cells / 4).clamp(LIMIT_CELLS_MIN, LIMIT_CELLS_MAX) };
        Self { version: LAYOUT, cells, accounts, limit_cells }
    }

    /// With nothing but accounts and cells of rate limits.
    #[cfg(all(test, loom))]
    pub(crate) fn of_limits(accounts: usize, limit_cells: usize) -> Self {
        Self { version: LAYOUT, cells: 0, accounts, limit_cells }
    }

    /// What the whole takes.
    pub(crate) fn words(self) -> usize {
        self.limit_cells().end
    }

    pub(crate) fn cells(self, table: usize) -> Range<usize> {
        let start = HEADER_WORDS + table * self.cells * 2;
        start..start + self.cells * 2
    }

    pub(crate) fn ids(self, table: usize) -> Range<usize> {
        let cells = self.cells(TABLES + table);
        cells.start..cells.end
    }

    pub(crate) fn names(self) -> Range<usize> {
        let start = self.ids(TABLES).start;
        let most = if self.has_limits() { NAME_WORDS_MAX } else { usize::MAX };
        let words = if self.cells == 0 { 0 } else { (self.cells / 4).max(NAME_WORDS_MIN).min(most) };
        start..start + words
    }

    /// One for every four cells, as long as there are few.
    pub(crate) fn entries(self) -> Range<usize> {
        let start = self.names().end;
        let most = if self.has_limits() { ENTRIES_MAX } else { usize::MAX };
        start..start + (self.cells / 4).min(most) * ENTRY_WORDS
    }

    /// A word for each api.
    pub(crate) fn meters(self) -> Range<usize> {
        let start = self.entries().end;
        start..start + if self.has_limits() { METERED_APIS } else { 0 }
    }

    pub(crate) fn accounts(self) -> Range<usize> {
        let start = self.meters().end;
        start..start + self.accounts * ACCOUNT_WORDS
    }

    pub(crate) fn limit_cells(self) -> Range<usize> {
        let start = self.accounts().end;
        start..start + self.limit_cells * LIMIT_CELL_WORDS
    }

    fn has_limits(self) -> bool {
        self.version != LAYOUT_WITHOUT_LIMITS
    }
}

/// A region and its layout.
#[derive(Clone)]
pub(crate) struct Region {
    words: Words,
    layout: Layout,
}

/// The words are not fit to be counted in.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum CountersError {
    /// Fewer than [`words_needed`].
    #[error("the counters have {has} words and need {needs}")]
    TooSmall {
        /// Words given.
        has: usize,
        /// Words needed.
        needs: usize,
    },
    /// Something stands in them. It must be recovered, and the words made zero.
    #[error("the counters are not empty")]
    NotEmpty,
}

/// How many words an engine of this size counts in.
pub fn words_needed(options: EngineOptions) -> usize {
    Layout::of(options).words()
}

impl Region {
    /// Takes words that are all zero into use.
    pub(crate) fn new(options: EngineOptions, words: Words, incarnation: i64) -> Result<Self, CountersError> {
        let layout = Layout::of(options);
        let (has, needs) = ((*words).as_ref().len(), layout.words());
        if has < needs {
            return Err(CountersError::TooSmall { has, needs });
        }
        let region = Self { words, layout };
        if region.slice(0..needs).iter().any(|word| word.load(Ordering::Acquire) != 0) {
            return Err(CountersError::NotEmpty);
        }
        let sizes = [layout.accounts as u64, layout.limit_cells as u64];
        let header = [MAGIC, LAYOUT, layout.cells as u64, incarnation as u64, sizes[0], sizes[1]];
        for (word, value) in region.slice(0..header.len()).iter().zip(header).rev() {
            word.store(value, Ordering::Release);
        }
        Ok(region)
    }

    /// A region in ordinary memory.
    pub(crate) fn in_memory(options: EngineOptions) -> Self {
        Self::with_layout(Layout::of(options))
    }

    pub(crate) fn with_layout(layout: Layout) -> Self {
        Self { words: Arc::new(Memory::new(layout.words())), layout }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    #[cfg(all(test, loom))]
    pub(crate) fn words(&self) -> Words {
        Arc::clone(&self.words)
    }

    pub(crate) fn is_counting(&self) -> bool {
        self.layout.cells > 0
    }

    /// State of a table.
    pub(crate) fn state(&self, table: usize) -> Part<AtomicU64> {
        Yoke::attach_to_cart(Arc::clone(&self.words), |words| &words.as_ref()[STATES + table])
    }

    pub(crate) fn part(&self, range: Range<usize>) -> Part<[AtomicU64]> {
        Yoke::attach_to_cart(Arc::clone(&self.words), |words| &words.as_ref()[range])
    }

    /// Groups of this many words.
    pub(crate) fn groups<const WORDS: usize>(&self, range: Range<usize>) -> Part<[[AtomicU64; WORDS]]> {
        Yoke::attach_to_cart(Arc::clone(&self.words), |words| words.as_ref()[range].as_chunks().0)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.layout.words() * size_of::<u64>()
    }

    fn slice(&self, range: Range<usize>) -> &[AtomicU64] {
        &(*self.words).as_ref()[range]
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// What the header of a region says.
pub(crate) struct Header {
    pub(crate) layout: Layout,
    pub(crate) incarnation: i64,
}

/// The words are not the region of an engine.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum RecoverError {
    /// Nobody has counted in them.
    #[error("nothing was counted")]
    Empty,
    /// They are something else, or the region of another version.
    #[error("these are not the counters of this version")]
    Foreign,
    /// Some are missing at the end.
    #[error("the counters were cut off: {has} words of {needs}")]
    Truncated {
        /// Words there are.
        has: usize,
        /// Words the header speaks of.
        needs: usize,
    },
}

impl Header {
    pub(crate) fn read(words: &[AtomicU64]) -> Result<Self, RecoverError> {
        let Some(header) = words.first_chunk::<HEADER_WORDS>() else {
            return Err(RecoverError::Truncated { has: words.len(), needs: HEADER_WORDS });
        };
        let [magic, version, cells, incarnation, accounts, limit_cells] =
            [0, 1, 2, 3, 4, 5].map(|word| header[word].load(Ordering::Acquire));
        if magic == 0 {
            return Err(RecoverError::Empty);
        }
        let is_size = |count: u64, most: u64| count == 0 || (count.is_power_of_two() && count <= most);
        let is_sound = is_size(cells, CELLS_MAX)
            && match version {
                LAYOUT => is_size(accounts, CELLS_MAX) && is_size(limit_cells, LIMIT_CELLS_MAX as u64),
                LAYOUT_WITHOUT_LIMITS => (accounts, limit_cells) == (0, 0),
                _ => false,
            };
        if magic != MAGIC || !is_sound {
            return Err(RecoverError::Foreign);
        }
        let [cells, accounts, limit_cells] = [cells, accounts, limit_cells].map(|count| count as usize);
        let layout = Layout { version, cells, accounts, limit_cells };
        let (has, needs) = (words.len(), layout.words());
        if has < needs {
            return Err(RecoverError::Truncated { has, needs });
        }
        Ok(Self { layout, incarnation: incarnation as i64 })
    }

    /// State of a table.
    pub(crate) fn state(words: &[AtomicU64], table: usize) -> u64 {
        words[STATES + table].load(Ordering::Acquire)
    }
}

/// Words of the process itself.
struct Memory {
    words: Box<[AtomicU64]>,
    /// The first word at the beginning of a cache line.
    start: usize,
}

/// Words of a cache line.
const LINE_WORDS: usize = 8;

impl Memory {
    fn new(words: usize) -> Self {
        let spare = if cfg!(loom) { 0 } else { LINE_WORDS };
        let words: Box<[AtomicU64]> = (0..words + spare).map(|_| AtomicU64::new(0)).collect();
        let start = words.as_ptr().align_offset(LINE_WORDS * size_of::<u64>());
        Self { start: start.min(spare), words }
    }
}

impl AsRef<[AtomicU64]> for Memory {
    fn as_ref(&self) -> &[AtomicU64] {
        &self.words[self.start..]
    }
}

/// A number that depends on all bits of all words: a check against words that do not belong together.
pub(crate) fn mix(words: &[u64]) -> u64 {
    words.iter().fold(0x9e37_79b9_7f4a_7c15, |hash: u64, word| {
        // An odd multiplier spreads every bit upwards, the shift brings the upper ones down again.
        let spread = (hash.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
        spread ^ spread >> 32
    })
}
