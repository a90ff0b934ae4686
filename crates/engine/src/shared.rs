//! What verifications read: everything in it may be looked at by any thread at any time.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use claviger_domain::restriction::Restrictions;

use crate::accounts::Accounts;
use crate::calendars::Calendars;
use crate::callers::Callers;
use crate::directory::Directory;
use crate::index::Table;
use crate::limits::cells::{Cells, RecoveredLimits};
use crate::limits::clock::LimitClock;
use crate::record::Records;
use crate::slab::Slab;
use crate::sync::{AtomicI64, AtomicU64, Ordering};
use crate::texts::Texts;
use crate::unknown_keys::UnknownKeys;
use crate::usage::{HourTable, Region, ScopeNames, TABLES};

/// The revision of an engine that knows nothing.
pub(crate) const NOT_LOADED: i64 = i64::MIN;
const RESTRICTIONS_MAX: usize = 1 << 26;

/// What is replaced as a whole, and rarely: when an api is defined or the index has grown.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Counts views.
    version: u64,
    pub(crate) directory: Arc<Directory>,
    pub(crate) index: Arc<Table>,
}

thread_local! {
    /// The view that the thread used last, and the number of the engine it is of. An atomic reference count, or a
    /// guard, would cost every verification two locked instructions, each of which waits for all loads before it.
    /// The price is that a thread which verifies no more keeps an old view until it ends.
    static LAST_VIEW: RefCell<Option<(u64, Arc<View>)>> = const { RefCell::new(None) };
}

/// Engines made so far.
static ENGINES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// The state that readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Tells this engine from the others of the process.
    engine: u64,
    /// What has been applied, or [`NOT_LOADED`].
    pub(crate) revision: AtomicI64,
    /// The instant from which on the engine says no, in microseconds since the epoch.
    pub(crate) lease: AtomicI64,
    view: ArcSwap<View>,
    /// The version of the newest view.
    view_version: AtomicU64,
    /// The directory of the view, for callers who want nothing else.
    pub(crate) directory: ArcSwap<Directory>,
    /// The epoch of the newest directory.
    pub(crate) epoch: AtomicU64,
    pub(crate) records: Records,
    pub(crate) accounts: Accounts,
    pub(crate) calendars: Calendars,
    pub(crate) limit_cells: Cells,
    pub(crate) limit_clock: LimitClock,
    pub(crate) restrictions: Slab<ArcSwapOption<Restrictions>>,
    pub(crate) texts: Texts,
    /// Digests of the verifiers that are not revoked.
    pub(crate) verifiers: ArcSwap<HashSet<[u8; 32]>>,
    /// The tables of three hours, each at its hour modulo 3.
    pub(crate) hours: [HourTable; TABLES],
    pub(crate) is_counting: bool,
    pub(crate) callers: Callers,
    pub(crate) unknown_keys: UnknownKeys,
    /// The scopes that are counted. No verification looks at them.
    scope_names: Mutex<ScopeNames>,
    /// What the tables stand in.
    region: Region,
}

impl Shared {
    /// The state of an engine that counts in a fresh region, with what a former process left of rate limits.
    pub(crate) fn new(region: Region, left: RecoveredLimits) -> Self {
        let directory = Arc::new(Directory::default());
        let view = View { version: 0, directory: Arc::clone(&directory), index: Arc::new(Table::with_capacity(0)) };
        Self {
            engine: ENGINES.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            revision: AtomicI64::new(NOT_LOADED),
            lease: AtomicI64::new(i64::MAX),
            view: ArcSwap::from_pointee(view),
            view_version: AtomicU64::new(0),
            directory: ArcSwap::new(directory),
            epoch: AtomicU64::new(0),
            records: Records::new(),
            accounts: Accounts::new(&region),
            calendars: Calendars::new(),
            limit_cells: Cells::new(&region, left),
            limit_clock: LimitClock::new(),
            restrictions: Slab::new(RESTRICTIONS_MAX),
            texts: Texts::new(),
            verifiers: ArcSwap::default(),
            hours: std::array::from_fn(|table| HourTable::new(&region, table)),
            is_counting: region.is_counting(),
            callers: Callers::new(region.is_counting()),
            unknown_keys: UnknownKeys::new(),
            scope_names: Mutex::new(ScopeNames::new(&region)),
            region,
        }
    }

    /// Runs `look` with the newest view.
    #[inline]
    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        // The version first: the view is at least as new.
        let version = self.view_version.load(Ordering::Acquire);
        let mut look = Some(look);
        let with_last = LAST_VIEW.try_with(|last| {
            let Ok(mut last) = last.try_borrow_mut() else { return None };
            let is_newest = matches!(&*last, Some((engine, view)) if *engine == self.engine && view.version >= version);
            if !is_newest {
                *last = Some((self.engine, self.view.load_full()));
            }
            let (_, view) = last.as_ref()?;
            look.take().map(|look| look(view))
        });
        match (with_last, look) {
            (Ok(Some(seen)), _) => seen,
            // The thread is about to end.
            (_, Some(look)) => look(&self.view.load()),
            (_, None) => unreachable!("a look that was taken has returned"),
        }
    }

    /// Replaces parts of the view. One caller at a time.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        view.version += 1;
        let version = view.version;
        self.view.store(Arc::new(view));
        self.view_version.store(version, Ordering::Release);
    }

    pub(crate) fn index(&self) -> Arc<Table> {
        Arc::clone(&self.view.load().index)
    }

    pub(crate) fn lock_scope_names(&self) -> MutexGuard<'_, ScopeNames> {
        self.scope_names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let view = self.view.load();
        let tables: usize = self.hours.iter().map(HourTable::memory_bytes).sum();
        let apis: usize = view.directory.iter().map(|(_, api)| api.memory_bytes()).sum();
        let slabs = self.records.memory_bytes()
            + self.accounts.memory_bytes()
            + self.limit_cells.memory_bytes()
            + self.restrictions.memory_bytes()
            + self.texts.memory_bytes();
        view.index.memory_bytes() + tables + self.region.memory_bytes() + apis + slabs
    }
}
