//! What is counted of a call.

use claviger_domain::denial::Denial;

/// What became of a call, or more of what it cost.
///
/// The units to be billed are those of [`Allowed`](Self::Allowed), one each, and [`ExtraUnits`](Self::ExtraUnits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// It passed and cost something.
    Allowed,
    /// It passed and cost nothing.
    AllowedFree,
    /// Not a call: the units beyond the first of calls that passed.
    ExtraUnits,
    /// It was refused.
    Denied(Denial),
}

impl Outcome {
    const ALLOWED_FREE: u8 = 32;
    const EXTRA_UNITS: u8 = 33;

    /// The outcome of a call that costs so many units.
    pub(crate) fn of(decision: Result<(), Denial>, cost: u32) -> Self {
        match decision {
            Err(denial) => Self::Denied(denial),
            Ok(()) if cost == 0 => Self::AllowedFree,
            Ok(()) => Self::Allowed,
        }
    }

    /// Its name in tables and reports: `allowed`, `allowed_free`, `extra_units`, or the code of the denial.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::AllowedFree => "allowed_free",
            Self::ExtraUnits => "extra_units",
            Self::Denied(denial) => denial.as_str(),
        }
    }

    /// Whether calls are counted, and not units.
    pub const fn is_call(self) -> bool {
        !matches!(self, Self::ExtraUnits)
    }

    /// Whether it is that of calls that passed.
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed | Self::AllowedFree)
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Allowed => 0,
            Self::AllowedFree => Self::ALLOWED_FREE,
            Self::ExtraUnits => Self::EXTRA_UNITS,
            Self::Denied(denial) => denial as u8,
        }
    }

    /// The outcome of this number, if there is one.
    pub(crate) fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Allowed),
            Self::ALLOWED_FREE => Some(Self::AllowedFree),
            Self::EXTRA_UNITS => Some(Self::ExtraUnits),
            _ => Denial::ALL.into_iter().find(|denial| *denial as u8 == number).map(Self::Denied),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_number_and_a_name_of_its_own() {
        let others = [Outcome::Allowed, Outcome::AllowedFree, Outcome::ExtraUnits];
        let all: Vec<Outcome> = others.into_iter().chain(Denial::ALL.map(Outcome::Denied)).collect();
        for (place, outcome) in all.iter().enumerate() {
            assert_eq!(Outcome::of_number(outcome.number()), Some(*outcome));
            assert!(all[..place].iter().all(|other| other.as_str() != outcome.as_str()));
        }
        assert_eq!((0..=u8::MAX).filter_map(Outcome::of_number).count(), all.len());
    }
}
