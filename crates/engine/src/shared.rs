//! What verifications read: everything in it may be looked at by any thread at any time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use claviger_domain::id::OrganizationId;
use claviger_domain::restriction::Restrictions;

use crate::directory::Directory;
use crate::index::Table;
use crate::record::Records;
use crate::slab::Slab;
use crate::sync::{AtomicI64, AtomicU64, Ordering};
use crate::texts::Texts;
use crate::usage::HourTable;

/// The revision of an engine that knows nothing.
pub(crate) const NOT_LOADED: i64 = i64::MIN;
const ORGANIZATIONS_MAX: usize = 1 << 28;
const RESTRICTIONS_MAX: usize = 1 << 26;

/// What is replaced as a whole, and rarely. One guard on it serves one verification.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) directory: Arc<Directory>,
    pub(crate) index: Arc<Table>,
    /// The tables of three hours, each at its hour modulo 3. `None` when nothing is counted.
    pub(crate) hours: Option<[Arc<HourTable>; 3]>,
}

/// The state that readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What has been applied, or [`NOT_LOADED`].
    pub(crate) revision: AtomicI64,
    /// The instant from which on the engine says no, in microseconds since the epoch.
    pub(crate) lease: AtomicI64,
    view: ArcSwap<View>,
    publishing: Mutex<()>,
    /// The directory of the view, for callers who want nothing else.
    pub(crate) directory: ArcSwap<Directory>,
    /// The epoch of the newest directory.
    pub(crate) epoch: AtomicU64,
    pub(crate) records: Records,
    pub(crate) organizations: Organizations,
    pub(crate) restrictions: Slab<ArcSwapOption<Restrictions>>,
    pub(crate) texts: Texts,
    /// Digests of the verifiers that are not revoked.
    pub(crate) verifiers: ArcSwap<HashSet<[u8; 32]>>,
    /// The greatest serial number of any hour table. Changed while publishing.
    pub(crate) newest_serial: AtomicU64,
    /// The least serial number of the hour tables that may still be counted in.
    pub(crate) oldest_serial: AtomicU64,
}

impl Shared {
    pub(crate) fn new(usage_cells: usize) -> Self {
        let table = |serial| Arc::new(HourTable::new(usage_cells, serial, None));
        let directory = Arc::new(Directory::default());
        let view = View {
            directory: Arc::clone(&directory),
            index: Arc::new(Table::with_capacity(0)),
            hours: (usage_cells > 0).then(|| [table(1), table(2), table(3)]),
        };
        Self {
            revision: AtomicI64::new(NOT_LOADED),
            lease: AtomicI64::new(i64::MAX),
            view: ArcSwap::from_pointee(view),
            publishing: Mutex::new(()),
            directory: ArcSwap::new(directory),
            epoch: AtomicU64::new(0),
            records: Records::new(),
            organizations: Organizations(Slab::new(ORGANIZATIONS_MAX)),
            restrictions: Slab::new(RESTRICTIONS_MAX),
            texts: Texts::new(),
            verifiers: ArcSwap::default(),
            newest_serial: AtomicU64::new(3),
            oldest_serial: AtomicU64::new(if usage_cells > 0 { 1 } else { u64::MAX }),
        }
    }

    /// The view of now.
    #[inline]
    pub(crate) fn view(&self) -> arc_swap::Guard<Arc<View>> {
        self.view.load()
    }

    /// Replaces parts of the view.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut View)) {
        let _publishing = self.lock_publishing();
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    /// The newest hour table that a reader could hold who still finds what was just removed from the index.
    ///
    /// Under the lock, so that a view with a newer table is published after the removal and its readers see that.
    pub(crate) fn newest_serial(&self) -> u64 {
        let _publishing = self.lock_publishing();
        self.newest_serial.load(Ordering::Relaxed)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let view = self.view();
        let hours: usize = view.hours.iter().flatten().map(|table| table.memory_bytes()).sum();
        let apis: usize = view.directory.iter().map(|(_, api)| api.memory_bytes()).sum();
        let slabs = self.records.memory_bytes()
            + self.organizations.0.memory_bytes()
            + self.restrictions.memory_bytes()
            + self.texts.memory_bytes();
        view.index.memory_bytes() + hours + apis + slabs
    }

    fn lock_publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Organizations by row: id and whether its keys work.
#[derive(Debug)]
pub(crate) struct Organizations(Slab<[AtomicU64; 3]>);

impl Organizations {
    /// Makes a row for an organization, whose keys do not work yet.
    pub(crate) fn insert(&self, row: u32, id: OrganizationId) -> Option<()> {
        let words = self.0.ensure(row)?;
        let id = id.as_u128();
        words[0].store((id >> 64) as u64, Ordering::Relaxed);
        words[1].store(id as u64, Ordering::Relaxed);
        Some(())
    }

    pub(crate) fn set_active(&self, row: u32, is_active: bool) {
        if let Some(words) = self.0.get(row) {
            words[2].store(u64::from(is_active), Ordering::Release);
        }
    }

    /// The id, and whether the organization's keys work.
    #[inline]
    pub(crate) fn find(&self, row: u32) -> Option<(OrganizationId, bool)> {
        let words = self.0.get(row)?;
        let [high, low] = [0, 1].map(|word| u128::from(words[word].load(Ordering::Relaxed)));
        Some((OrganizationId::from_u128(high << 64 | low), words[2].load(Ordering::Relaxed) != 0))
    }
}
