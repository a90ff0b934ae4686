//! The few primitives that the lock-free parts are written over: the standard ones, or loom's, which try
//! every interleaving, under `cfg(loom)`.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence};

/// Lets another thread go on: the wait for a writer that is inside a few stores.
pub(crate) fn relax(attempt: u32) {
    #[cfg(loom)]
    {
        let _ = attempt;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if attempt < 64 {
        std::hint::spin_loop();
    } else {
        // The writer was taken off its core in the middle. Give it ours.
        std::thread::yield_now();
    }
}
