//! How long a peer may keep a connection waiting, without a timer or a clock reading per request.
//!
//! The connection notes what it is waiting for in one atomic word, the [`Pulse`]. One slow timer per
//! connection looks at the word every [`TICK`]: a word that has not changed since the last look means that
//! the same wait has lasted for at least one tick. A wait therefore ends between its limit and one tick
//! later. (hyper's own `header_read_timeout` makes a timer for each request, and would close connections
//! that merely rest between two requests.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often a connection is looked at, and the least time a peer has for sending a request's head.
pub(crate) const TICK: Duration = Duration::from_secs(10);
/// Ticks that one head may take.
const HEAD_TICKS_MAX: u32 = 1;
/// Ticks that one request's body may take, and the client for making room for an answer's next piece.
const BODY_TICKS_MAX: u32 = 3;
/// Ticks that a connection may rest between requests: longer than the 90 s for which the usual HTTP
/// clients keep a connection in their pools, so that the client is the one that closes.
const REST_TICKS_MAX: u32 = 12;

/// What a connection is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Phase {
    /// The peer's next request.
    Rest,
    /// The rest of a request's head.
    Head,
    /// The rest of a request's body.
    Body,
    /// Us: somebody is working on the answer, for as long as it takes.
    Answer,
    /// The peer, to take what has been answered so far.
    Sending,
}

/// Phases fit in this many low bits of the word; the others count the changes.
const PHASE_BITS: u32 = 3;

/// What one connection is waiting for now.
#[derive(Debug)]
pub(crate) struct Pulse(AtomicU32);

impl Pulse {
    /// A new connection owes us a request.
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(Phase::Head as u32))
    }

    /// Begins a wait. Only the connection's own task calls this, so nothing is lost between load and store
    /// but the word of a [`BodyWait`], which is over then anyway.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.store(following(self.0.load(Ordering::Relaxed), phase), Ordering::Relaxed);
    }

    /// Notes that bytes have arrived: at rest they are the first of a head.
    pub(crate) fn bytes_arrived(&self) {
        if self.phase() == Phase::Rest {
            self.enter(Phase::Head);
        }
    }

    fn phase(&self) -> Phase {
        phase_of(self.0.load(Ordering::Relaxed))
    }
}

fn following(word: u32, phase: Phase) -> u32 {
    ((word >> PHASE_BITS).wrapping_add(1) << PHASE_BITS) | phase as u32
}

fn phase_of(word: u32) -> Phase {
    match word & ((1 << PHASE_BITS) - 1) {
        0 => Phase::Rest,
        1 => Phase::Head,
        2 => Phase::Body,
        3 => Phase::Answer,
        _ => Phase::Sending,
    }
}

/// The wait for the body of a request that was handed to another runtime. Ends when dropped, unless
/// the connection has moved on by then.
#[derive(Debug)]
pub(crate) struct BodyWait {
    pulse: Arc<Pulse>,
    word: u32,
}

impl BodyWait {
    /// Begins the wait, on the connection's own task.
    pub(crate) fn begin(pulse: Arc<Pulse>) -> Self {
        pulse.enter(Phase::Body);
        let word = pulse.0.load(Ordering::Relaxed);
        Self { pulse, word }
    }
}

impl Drop for BodyWait {
    fn drop(&mut self) {
        let next = following(self.word, Phase::Answer);
        let _ = self.pulse.0.compare_exchange(self.word, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The one who looks at a [`Pulse`] every [`TICK`].
#[derive(Debug)]
pub(crate) struct Patience {
    seen: u32,
    ticks: u32,
}

impl Patience {
    pub(crate) fn new(pulse: &Pulse) -> Self {
        Self { seen: pulse.0.load(Ordering::Relaxed), ticks: 0 }
    }

    /// Looks once more; whether the peer has kept us waiting for too long.
    pub(crate) fn is_over(&mut self, pulse: &Pulse) -> bool {
        let word = pulse.0.load(Ordering::Relaxed);
        if word != self.seen {
            *self = Self { seen: word, ticks: 0 };
            return false;
        }
        self.ticks = self.ticks.saturating_add(1);
        match phase_of(word) {
            Phase::Rest => self.ticks >= REST_TICKS_MAX,
            Phase::Head => self.ticks >= HEAD_TICKS_MAX,
            Phase::Body | Phase::Sending => self.ticks >= BODY_TICKS_MAX,
            Phase::Answer => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks until patience is over, `None` when it is not after an hour.
    fn ticks_in(phase: Phase) -> Option<u32> {
        let pulse = Pulse::new();
        let mut patience = Patience::new(&pulse);
        pulse.enter(phase);
        assert!(!patience.is_over(&pulse), "a new wait is not an old one");
        (1..=360).find(|_| patience.is_over(&pulse))
    }

    #[test]
    fn every_wait_for_the_peer_ends() {
        assert_eq!(ticks_in(Phase::Rest), Some(12));
        assert_eq!(ticks_in(Phase::Head), Some(1));
        assert_eq!(ticks_in(Phase::Body), Some(3));
        assert_eq!(ticks_in(Phase::Sending), Some(3));
        assert_eq!(ticks_in(Phase::Answer), None);
    }

    #[test]
    fn a_new_connection_owes_a_request() {
        let pulse = Pulse::new();
        assert!(Patience::new(&pulse).is_over(&pulse));
    }

    #[test]
    fn dripping_bytes_buys_no_time() {
        let pulse = Pulse::new();
        pulse.enter(Phase::Rest);
        pulse.bytes_arrived();
        let mut patience = Patience::new(&pulse);
        pulse.bytes_arrived();
        assert!(patience.is_over(&pulse));
    }

    #[test]
    fn a_late_end_of_a_body_does_not_touch_the_next_request() {
        let pulse = Arc::new(Pulse::new());
        let wait = BodyWait::begin(Arc::clone(&pulse));
        pulse.enter(Phase::Rest);
        drop(wait);
        assert_eq!(pulse.phase(), Phase::Rest);
        drop(BodyWait::begin(Arc::clone(&pulse)));
        assert_eq!(pulse.phase(), Phase::Answer);
    }
}
