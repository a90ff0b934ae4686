//! Organizations: the customers' accounts.

use serde::{Deserialize, Serialize};

use crate::id::OrganizationId;
use crate::key::{Name, WordError};
use crate::period::TimeZone;
use crate::time::Timestamp;

/// Whether an organization may use its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrganizationStatus {
    /// Its keys work.
    Active,
    /// All its keys are refused, and untouched, until it is active again.
    Suspended,
}

impl OrganizationStatus {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

impl std::str::FromStr for OrganizationStatus {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "active" => Ok(Self::Active),
            "suspended" => Ok(Self::Suspended),
            _ => Err(WordError("active, suspended")),
        }
    }
}

/// A customer account, the tenant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// The name that people see.
    pub name: Name,
    /// Whether its keys work.
    pub status: OrganizationStatus,
    /// Where its days and billing periods begin.
    #[serde(default)]
    pub time_zone: TimeZone,
    /// When it was made.
    pub created_at: Timestamp,
}
