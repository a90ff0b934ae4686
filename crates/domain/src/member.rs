//! Members: the people of an organization, what they may do there, and how they come in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::alert::AlertKind;
use crate::id::{InvitationId, MemberId, OrganizationId};
use crate::key::{Name, WordError};
use crate::mail::EmailAddress;
use crate::time::{Timestamp, has_expired};
use zeroize::Zeroizing;

/// What a member may do. Each may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Manage keys.
    Developer,
    /// Manage members, other than owners.
    Admin,
    /// Everything. The last owner of an organization stays one; before the first joins, only the operator makes owners.
    Owner,
}

impl Role {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Whether somebody of this role may give, take and end another one: an owner any, an admin those up to its own.
    pub fn may_manage(self, other: Self) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => other <= Self::Admin,
            Self::Developer | Self::Viewer => false,
        }
    }
}

impl std::str::FromStr for Role {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let all = [Self::Owner, Self::Admin, Self::Developer, Self::Viewer];
        all.into_iter().find(|role| role.as_str() == text).ok_or(WordError("owner, admin, developer, viewer"))
    }
}

/// Where the link of an invitation leads: a page of the operator's, with `{token}` where the invitation's token stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvitationUrl {
    before: String,
    after: String,
}

impl InvitationUrl {
    /// The link with a token, which works once.
    pub fn with(&self, token: &str) -> Zeroizing<String> {
        let mut link = Zeroizing::new(String::with_capacity(self.before.len() + token.len() + self.after.len()));
        for part in [self.before.as_str(), token, self.after.as_str()] {
            link.push_str(part);
        }
        link
    }
}

/// The text is no URL for invitations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an https:// URL with {{token}} once after its host, such as https://example.com/join#{{token}}")]
pub struct InvitationUrlError;

impl std::str::FromStr for InvitationUrl {
    type Err = InvitationUrlError;

    fn from_str(text: &str) -> Result<Self, InvitationUrlError> {
        let (before, after) = text.split_once("{token}").ok_or(InvitationUrlError)?;
        let host_and_path = before.strip_prefix("https://").ok_or(InvitationUrlError)?;
        // A token in the host's place would be asked of a name server.
        let has_host = host_and_path.find('/').is_some_and(|end| end > 0);
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'<' && byte != b'>');
        let is_url = has_host && is_plain && !after.contains("{token}") && !host_and_path.contains('@');
        if is_url { Ok(Self { before: before.to_owned(), after: after.to_owned() }) } else { Err(InvitationUrlError) }
    }
}

/// A person in an organization. The same person, known by the address, may be in several.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its id in this organization.
    pub id: MemberId,
    /// Where.
    pub organization: OrganizationId,
    /// Whose mail it reads; its letters are lower case.
    pub email: EmailAddress,
    /// The name that people see.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// The kinds of alerts that it is mailed, none of them included; `None` is what its role has.
    pub alert_mails: Option<BTreeSet<AlertKind>>,
    /// When it came in.
    pub created_at: Timestamp,
}

impl Member {
    /// Whether it is mailed alerts of a kind. Who chose nothing is mailed all of them as an owner or admin, and none as
    /// anybody else.
    pub fn is_mailed(&self, kind: AlertKind) -> bool {
        match &self.alert_mails {
            Some(chosen) => chosen.contains(&kind),
            None => self.role >= Role::Admin,
        }
    }
}

/// An invitation, whose link works once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// Where to.
    pub organization: OrganizationId,
    /// Who.
    pub email: EmailAddress,
    /// What they will be.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the link stops working.
    pub expires_at: Timestamp,
}

impl Invitation {
    /// Whether its link works at an instant.
    pub fn is_open(&self, now: Timestamp) -> bool {
        !has_expired(Some(self.expires_at), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_manages_who_may_do_more() {
        let all = [Role::Viewer, Role::Developer, Role::Admin, Role::Owner];
        for mine in all {
            assert_eq!(mine.as_str().parse(), Ok(mine));
            for other in all {
                let expected = mine == Role::Owner || (mine == Role::Admin && other != Role::Owner);
                assert_eq!(mine.may_manage(other), expected, "{mine:?} {other:?}");
            }
        }
    }
    #[test]
    fn what_somebody_chose_is_mailed_whatever_their_role() {
        let member = |role, alert_mails| Member {
            id: MemberId::from_u128(1),
            organization: OrganizationId::from_u128(1),
            email: "ada@example.com".parse().unwrap(),
            name: "Ada".parse().unwrap(),
            role,
            alert_mails,
            created_at: Timestamp::from_micros(0),
        };
        let chosen = BTreeSet::from([AlertKind::Quota100]);
        for (role, by_role) in
            [(Role::Owner, true), (Role::Admin, true), (Role::Developer, false), (Role::Viewer, false)]
        {
            for kind in AlertKind::ALL {
                assert_eq!(member(role, None).is_mailed(kind), by_role);
                assert!(!member(role, Some(BTreeSet::new())).is_mailed(kind));
                assert_eq!(member(role, Some(chosen.clone())).is_mailed(kind), kind == AlertKind::Quota100);
            }
        }
    }

    #[test]
    fn a_link_has_the_token_once_and_not_in_its_host() {
        let url: InvitationUrl = "https://example.com/join?from=mail#{token}".parse().unwrap();
        assert_eq!(url.with("inv_1").as_str(), "https://example.com/join?from=mail#inv_1");
        let wrong = [
            "",
            "https://example.com/join",
            "http://example.com/{token}",
            "https://{token}.example.com/",
            "https:///{token}",
            "https://example.com{token}",
            "https://example.com/{token}/{token}",
            "https://example.com/a b#{token}",
            "https://me@example.com/#{token}",
            "javascript:alert({token})",
        ];
        for text in wrong {
            assert_eq!(text.parse::<InvitationUrl>(), Err(InvitationUrlError), "{text}");
        }
    }
}
