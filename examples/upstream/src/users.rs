//! `POST /v1/users` and `GET /v1/users/{id}`: the sample's own data, kept in memory.
//!
//! Users belong to the organization that made them. What a test key writes is answered as a live key's would
//! be, but never kept, and a test key reads no live data.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use crate::Caller;
use crate::answer::{Failure, success};
use crate::body::{self, Members};
use crate::pii;

/// The most users kept, over all organizations.
const USERS_MAX: usize = 10_000;
const NAME_CHARACTERS_MAX: usize = 200;

/// A user, as the API shows it.
#[derive(Clone, Debug, Serialize)]
struct User {
    id: String,
    name: String,
    email: String,
}

/// All users, shared by the handlers.
#[derive(Clone)]
pub(crate) struct Users(Arc<Mutex<Store>>);

struct Store {
    /// The user that every organization sees, so that the documented example works with any key.
    example: User,
    by_id: HashMap<String, Owned>,
    /// Numbers given out so far. A test key takes one too, so that the id it was shown is never given to a
    /// user who exists.
    issued: u64,
}

struct Owned {
    organization: String,
    user: User,
}

impl Users {
    /// No users but the one of the documented example.
    pub(crate) fn seeded() -> Self {
        let example =
            User { id: "usr_123".to_owned(), name: "Ada Lovelace".to_owned(), email: "ada@example.com".to_owned() };
        Self(Arc::new(Mutex::new(Store { example, by_id: HashMap::new(), issued: 0 })))
    }

    fn find(&self, caller: &Caller, id: &str) -> Option<User> {
        self.with(|store| {
            if id == store.example.id {
                return Some(store.example.clone());
            }
            let owned = store.by_id.get(id)?;
            (caller.live && owned.organization == caller.organization).then(|| owned.user.clone())
        })
    }

    /// The user made for `caller`, or `None` if the store is full.
    fn create(&self, caller: &Caller, name: String, email: String) -> Option<User> {
        self.with(|store| {
            if store.by_id.len() >= USERS_MAX {
                return None;
            }
            store.issued += 1;
            let user = User { id: format!("usr_{:010}", store.issued), name, email };
            if caller.live {
                let owned = Owned { organization: caller.organization.clone(), user: user.clone() };
                store.by_id.insert(user.id.clone(), owned);
            }
            Some(user)
        })
    }

    fn with<T>(&self, action: impl FnOnce(&mut Store) -> T) -> T {
        // A panic elsewhere leaves the store whole: each action makes at most one change to the map.
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) async fn show(
    State(users): State<Users>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    // A path that cannot be decoded names no user either.
    let user = id.ok().and_then(|Path(id)| users.find(&caller, &id));
    user.map(|user| success(StatusCode::OK, user))
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "user_not_found", "There is no user with this id."))
}

pub(crate) async fn create(
    State(users): State<Users>,
    Extension(caller): Extension<Caller>,
    members: Members,
) -> Result<Response, Failure> {
    let [name, email] = members.require(["name", "email"])?;
    let name = body::string("name", name)?;
    let email = body::string("email", email)?;
    if name.trim().is_empty() || name.chars().count() > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
        return Err(Failure::bad_request(
            "invalid_name",
            format!("The field `name` must be 1 to {NAME_CHARACTERS_MAX} characters, not blank, on one line."),
        ));
    }
    if !pii::is_email(&email) {
        return Err(Failure::bad_request(
            "invalid_email",
            "The field `email` must be one e-mail address, such as ada@example.com.",
        ));
    }
    users.create(&caller, name, email).map(|user| success(StatusCode::CREATED, user)).ok_or_else(|| {
        Failure::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "store_full",
            format!("This sample keeps at most {USERS_MAX} users, and has them. They go when it is restarted."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(organization: &str, live: bool) -> Caller {
        Caller { organization: organization.to_owned(), live }
    }

    #[test]
    fn the_store_is_bounded() {
        let users = Users::seeded();
        let live = caller("org_a", true);
        for _ in 0..USERS_MAX {
            assert!(users.create(&live, "A".to_owned(), "a@example.com".to_owned()).is_some());
        }
        assert!(users.create(&live, "A".to_owned(), "a@example.com".to_owned()).is_none());
        assert!(users.create(&caller("org_b", true), "B".to_owned(), "b@example.com".to_owned()).is_none());
        assert_eq!(users.with(|store| store.by_id.len()), USERS_MAX);
    }

    #[test]
    fn a_test_key_adds_nothing_and_its_id_is_never_reused() {
        let users = Users::seeded();
        let made = users.create(&caller("org_a", false), "A".to_owned(), "a@example.com".to_owned()).unwrap();
        assert_eq!(users.with(|store| store.by_id.len()), 0);
        let kept = users.create(&caller("org_a", true), "A".to_owned(), "a@example.com".to_owned()).unwrap();
        assert_ne!(made.id, kept.id);
        assert!(users.find(&caller("org_a", true), &made.id).is_none());
        assert!(users.find(&caller("org_a", true), &kept.id).is_some());
    }
}
