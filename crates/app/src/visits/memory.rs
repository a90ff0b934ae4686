//! Which visits are worth an audit event. What is remembered is bounded, whoever comes and however often.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use claviger_domain::audit::Source;
use claviger_domain::time::Timestamp;

use super::{RefusalReason, Refused, Visitor};

/// For so long a credential that was used from somewhere is not told of again.
const SIGNED_IN_SECONDS: i64 = 12 * 3600;
/// Visitors that are remembered; beyond it, those whose sign-in was told first are forgotten.
const VISITORS_MAX: usize = 65_536;
/// In so many seconds …
const REFUSALS_SECONDS: i64 = 60;
/// … at most so many refusals are told, and of the same network and reason one.
const REFUSALS_MAX: usize = 20;

/// Whether an instant lies less than so many seconds back. What lies ahead does not: the clock was set back.
fn is_within(at: Timestamp, seconds: i64, now: Timestamp) -> bool {
    at <= now && at.plus_seconds(seconds).is_none_or(|end| now < end)
}

/// The visitors whose sign-in was told.
#[derive(Default)]
pub(super) struct SignIns {
    told: HashMap<Visitor, Timestamp>,
    /// In the order in which they were told. Some were told again or forgotten since.
    order: VecDeque<(Visitor, Timestamp)>,
}

impl SignIns {
    /// Whether this is the first use for a while, which it is then not again.
    pub(super) fn is_first(&mut self, visitor: Visitor, now: Timestamp) -> bool {
        if self.told.get(&visitor).is_some_and(|at| is_within(*at, SIGNED_IN_SECONDS, now)) {
            return false;
        }
        if self.order.len() >= VISITORS_MAX
            && let Some((oldest, at)) = self.order.pop_front()
            && self.told.get(&oldest) == Some(&at)
        {
            self.told.remove(&oldest);
        }
        self.told.insert(visitor, now);
        self.order.push_back((visitor, now));
        true
    }

    /// It was not told after all.
    pub(super) fn forget(&mut self, visitor: &Visitor) {
        self.told.remove(visitor);
    }
}

/// The refusals that were told a moment ago, and how many were not.
#[derive(Default)]
pub(super) struct Refusals {
    told: VecDeque<(Timestamp, Source, RefusalReason)>,
    untold: u64,
    last_untold: Option<(Refused, Timestamp)>,
}

impl Refusals {
    /// Takes a refusal, and gives it back if it is to be told, with the number of those that were not since the last.
    pub(super) fn take(&mut self, refused: Refused, now: Timestamp) -> Option<(Refused, u64)> {
        if self.has_room(&refused, now) {
            self.told.push_back((now, network(refused.visitor.source), refused.reason));
            self.last_untold = None;
            return Some((refused, std::mem::take(&mut self.untold)));
        }
        self.untold = self.untold.saturating_add(1);
        self.last_untold = Some((refused, now));
        None
    }

    /// The last of those that were not told, with the number of the others, if it may be told by now or this is the end.
    pub(super) fn take_untold(&mut self, now: Timestamp, is_the_end: bool) -> Option<(Refused, Timestamp, u64)> {
        let (refused, at) = self.last_untold.take()?;
        if !is_the_end && !self.has_room(&refused, now) {
            self.last_untold = Some((refused, at));
            return None;
        }
        self.told.push_back((now, network(refused.visitor.source), refused.reason));
        let others = std::mem::take(&mut self.untold).saturating_sub(1);
        Some((refused, at, others))
    }

    /// It was not told after all.
    pub(super) fn put_back(&mut self, refused: Refused, at: Timestamp, suppressed: u64) {
        self.untold = self.untold.saturating_add(suppressed).saturating_add(1);
        self.last_untold.get_or_insert((refused, at));
    }

    fn has_room(&mut self, refused: &Refused, now: Timestamp) -> bool {
        self.told.retain(|(at, ..)| is_within(*at, REFUSALS_SECONDS, now));
        let alike = (network(refused.visitor.source), refused.reason);
        self.told.len() < REFUSALS_MAX && !self.told.iter().any(|(_, source, reason)| (*source, *reason) == alike)
    }
}

/// Whose address it is, more or less: its /24, or its /48.
fn network(source: Source) -> Source {
    let Source::Address(address) = source else { return source };
    Source::Address(match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_domain::id::MemberId;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn from(address: &str) -> Visitor {
        Visitor { token: None, member: None, source: address.parse().unwrap() }
    }

    fn refused(address: &str, reason: RefusalReason) -> Refused {
        Refused { visitor: from(address), reason, method: "GET", route: "/admin/v1/keys".into() }
    }

    /// The number of the suppressed, if it is told.
    fn take(refusals: &mut Refusals, address: &str, seconds: i64) -> Option<u64> {
        refusals.take(refused(address, RefusalReason::UnknownToken), at(seconds)).map(|(_, suppressed)| suppressed)
    }

    #[test]
    fn the_first_use_in_twelve_hours_is_told() {
        let mut sign_ins = SignIns::default();
        assert!(sign_ins.is_first(from("203.0.113.7"), at(0)));
        assert!(!sign_ins.is_first(from("203.0.113.7"), at(12 * 3600 - 1)));
        assert!(sign_ins.is_first(from("203.0.113.8"), at(1)));
        let member = Visitor { member: Some(MemberId::from_u128(1)), ..from("203.0.113.7") };
        assert!(sign_ins.is_first(member, at(1)));
        // Uses in between do not put it off.
        assert!(sign_ins.is_first(from("203.0.113.7"), at(12 * 3600)));
        // A clock that is set back does not make anybody unseen.
        assert!(sign_ins.is_first(from("203.0.113.7"), at(60)));
        assert!(!sign_ins.is_first(from("203.0.113.7"), at(61)));
        sign_ins.forget(&from("203.0.113.7"));
        assert!(sign_ins.is_first(from("203.0.113.7"), at(62)));
    }

    #[test]
    fn the_visitors_that_are_remembered_are_bounded() {
        let mut sign_ins = SignIns::default();
        let visitor = |number: usize| Visitor { member: Some(MemberId::from_u128(number as u128)), ..from("::1") };
        for number in 0..VISITORS_MAX + 10 {
            assert!(sign_ins.is_first(visitor(number), at(number as i64 / 10)));
        }
        assert_eq!((sign_ins.told.len(), sign_ins.order.len()), (VISITORS_MAX, VISITORS_MAX));
        assert!(!sign_ins.is_first(visitor(10), at(7000)), "the oldest went first");
        assert!(sign_ins.is_first(visitor(9), at(7000)));
        for round in 0..100 {
            sign_ins.forget(&visitor(9));
            assert!(sign_ins.is_first(visitor(9), at(7000 + round)));
        }
        assert!(sign_ins.told.len() <= VISITORS_MAX && sign_ins.order.len() <= VISITORS_MAX);
    }

    #[test]
    fn one_refusal_of_a_network_and_reason_is_told_in_a_minute() {
        let mut refusals = Refusals::default();
        assert_eq!(take(&mut refusals, "203.0.113.7", 0), Some(0));
        assert_eq!(take(&mut refusals, "::ffff:203.0.113.9", 30), None);
        assert_eq!(take(&mut refusals, "203.0.113.7", 59), None);
        // Another network says how many were not told so far.
        assert_eq!(take(&mut refusals, "203.0.114.7", 59), Some(2));
        let other_reason = refusals.take(refused("203.0.113.7", RefusalReason::NoToken), at(59));
        assert_eq!(other_reason.map(|(_, suppressed)| suppressed), Some(0));
        assert_eq!(take(&mut refusals, "203.0.113.7", 60), Some(0));
        assert_eq!(take(&mut refusals, "2001:db8:1:2::3", 60), Some(0));
        assert_eq!(take(&mut refusals, "2001:db8:1:ffff::4", 61), None);
        assert_eq!(take(&mut refusals, "2001:db8:2::", 61), Some(1));
        assert_eq!(take(&mut refusals, "unknown", 61), Some(0));
        assert_eq!(take(&mut refusals, "socket", 61), Some(0));
    }

    #[test]
    fn a_flood_from_everywhere_leaves_twenty_events_a_minute() {
        let mut refusals = Refusals::default();
        let mut told = Vec::new();
        // Ten thousand a minute, for three minutes, each from another network.
        for number in 0..30_000_i64 {
            let address = format!("10.{}.{}.1", number / 256, number % 256);
            let now = number * 60 / 10_000;
            told.extend(take(&mut refusals, &address, now).map(|suppressed| (now, suppressed)));
            assert!(refusals.told.len() <= REFUSALS_MAX);
        }
        for minute in 0..120 {
            let of_it = told.iter().filter(|(now, _)| (minute..minute + 60).contains(now)).count();
            assert!(of_it <= REFUSALS_MAX, "{of_it} in the minute from {minute}");
        }
        assert_eq!(told.len(), 3 * REFUSALS_MAX);
        let (_, _, others) = refusals.take_untold(at(240), false).unwrap();
        let suppressed: u64 = told.iter().map(|(_, suppressed)| suppressed).sum();
        assert_eq!(told.len() as u64 + suppressed + 1 + others, 30_000, "each is told or counted");
        assert!(refusals.take_untold(at(240), true).is_none());
    }

    #[test]
    fn what_was_only_counted_is_told_when_its_minute_is_over() {
        let mut refusals = Refusals::default();
        assert!(refusals.take_untold(at(0), true).is_none());
        take(&mut refusals, "203.0.113.7", 0);
        take(&mut refusals, "203.0.113.8", 10);
        take(&mut refusals, "203.0.113.9", 20);
        assert!(refusals.take_untold(at(59), false).is_none());
        let (last, when, others) = refusals.take_untold(at(60), false).unwrap();
        assert_eq!((last.visitor, when, others), (from("203.0.113.9"), at(20), 1));
        // It counts as the event of that minute.
        assert_eq!(take(&mut refusals, "203.0.113.7", 61), None);
        let (_, when, others) = refusals.take_untold(at(62), true).unwrap();
        assert_eq!((when, others), (at(61), 0));
    }

    #[test]
    fn what_could_not_be_written_is_counted() {
        let mut refusals = Refusals::default();
        take(&mut refusals, "203.0.113.7", 0);
        refusals.put_back(refused("203.0.113.7", RefusalReason::UnknownToken), at(0), 4);
        assert_eq!(take(&mut refusals, "203.0.114.7", 1), Some(5));
        refusals.put_back(refused("203.0.113.7", RefusalReason::UnknownToken), at(0), 0);
        assert_eq!(refusals.take_untold(at(60), false).map(|(_, _, others)| others), Some(0));
    }
}
