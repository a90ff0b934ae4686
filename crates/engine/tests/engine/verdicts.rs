//! Single verdicts that the model does not single out.

use claviger_domain::change::{Change, Revision};
use claviger_domain::credential::Credential;
use claviger_domain::denial::Denial;
use claviger_domain::endpoint::Method;
use claviger_domain::key::{Key, Kind};
use claviger_domain::organization::OrganizationStatus;
use claviger_engine::{ApplyError, Engine, EngineOptions, Request};

use crate::support::{
    Ask, acme, api, apply, at, endpoints, engine, key, organization, revoked, rotated, scopes, secret,
};

fn with_key() -> (Engine, Key, String) {
    let clear = secret(&acme(), "live", 1);
    let key = key(1, &clear);
    (engine(vec![Change::Key(Box::new(key.clone()))]), key, clear)
}

#[test]
fn an_engine_says_no_until_it_is_loaded_up_to_date_and_leased() {
    let (engine, _, clear) = with_key();
    assert_eq!(Engine::new(EngineOptions::default()).revision(), Revision(0));
    let request = |at_least_revision| Request {
        credential: Credential::Missing,
        api: None,
        endpoint: None,
        ip: None,
        referrer: None,
        scopes: &[],
        cost: None,
        at_least_revision,
    };
    assert_eq!(engine.verify(at(0), &request(Revision(1))).decision, Err(Denial::Missing));
    assert_eq!(engine.verify(at(0), &request(Revision(2))).decision, Err(Denial::Unavailable));
    engine.grant_lease(at(10));
    assert_eq!(Ask { now: at(9), ..Ask::with(&clear) }.decision(&engine), Ok(()));
    assert_eq!(Ask { now: at(10), ..Ask::with(&clear) }.decision(&engine), Err(Denial::Unavailable));
}

#[test]
fn a_snapshot_that_breaks_off_leaves_no_part_of_it() {
    #[derive(PartialEq, Debug)]
    struct Broken;
    impl From<ApplyError> for Broken {
        fn from(_: ApplyError) -> Self {
            Self
        }
    }
    let (engine, key, clear) = with_key();
    let everything = || {
        let organization = organization(1, OrganizationStatus::Active);
        [Change::Api(Box::new(acme())), Change::Organization(organization), Change::Key(Box::new(key.clone()))]
    };
    let broken = everything().map(Ok).into_iter().chain([Err(Broken)]);
    assert_eq!(engine.try_load(Revision(2), broken), Err(Broken));
    assert!(!engine.is_loaded());
    assert_eq!(Ask::with(&clear).decision(&engine), Err(Denial::Unavailable));
    engine.load(Revision(2), everything().into_iter()).unwrap();
    assert_eq!(Ask::with(&clear).decision(&engine), Ok(()));
    assert_eq!(engine.revision(), Revision(2));
}

#[test]
fn an_unloaded_engine_takes_an_older_snapshot_and_forgets_what_it_does_not_hold() {
    let (engine, key, clear) = with_key();
    apply(&engine, Change::Key(Box::new(revoked(&key))));
    apply(&engine, Change::Api(Box::new(api("beta", "/v2", ""))));
    let snapshot = || {
        let known = [Change::Api(Box::new(acme())), Change::Organization(organization(1, OrganizationStatus::Active))];
        known.into_iter().chain([Change::Key(Box::new(key.clone()))])
    };
    assert_eq!(engine.load(Revision(2), snapshot()), Err(ApplyError::Stale));
    assert_eq!(Ask::with(&clear).decision(&engine), Err(Denial::Revoked));
    engine.unload();
    assert_eq!(Ask::with(&clear).decision(&engine), Err(Denial::Unavailable));
    assert_eq!(engine.apply(Revision(9), &[]), Err(ApplyError::NotLoaded));
    engine.load(Revision(2), snapshot()).unwrap();
    assert_eq!((engine.revision(), Ask::with(&clear).decision(&engine)), (Revision(2), Ok(())));
    let directory = engine.directory();
    assert!(directory.find("acme").is_some() && directory.find("beta").is_none());
}

#[test]
fn a_suspended_organization_is_refused_until_it_is_active() {
    let (engine, _, clear) = with_key();
    apply(&engine, Change::Organization(organization(1, OrganizationStatus::Suspended)));
    assert_eq!(Ask::with(&clear).decision(&engine), Err(Denial::SubscriptionInactive));
    apply(&engine, Change::Organization(organization(1, OrganizationStatus::Active)));
    assert_eq!(Ask::with(&clear).decision(&engine), Ok(()));
}

#[test]
fn a_verdict_tells_which_secret_was_used() {
    let (engine, key, old) = with_key();
    let new = secret(&acme(), "live", 2);
    apply(&engine, Change::Key(Box::new(rotated(&key, &new, Some(at(60))))));
    for (clear, by_old_secret) in [(&old, true), (&new, false)] {
        assert_eq!(Ask::with(clear).verdict(&engine).key.map(|key| key.by_old_secret), Some(by_old_secret));
    }
    assert_eq!(Ask { now: at(60), ..Ask::with(&old) }.decision(&engine), Err(Denial::Revoked));
}

#[test]
fn an_unlisted_path_opens_only_below_the_apis_own_base_path_and_to_full_access() {
    let (engine, key, clear) = with_key();
    let beside = api("beta", "/v1", &endpoints(&[("users", "GET /v1/users/{id}", None)]));
    apply(&engine, Change::Api(Box::new(beside)));
    let ask = |path| Ask { endpoint: Some((Method::Get, path)), ..Ask::with(&clear) }.decision(&engine);
    assert_eq!(ask("/v1/nobody/lists/this"), Ok(()));
    for path in ["/v1", "/v10/things", "/elsewhere", "/v1/users/1"] {
        assert_eq!(ask(path), Err(Denial::EndpointNotAllowed), "{path}");
    }
    let named = Key { kind: Kind::Restricted, scopes: scopes(&["things:read"]), ..key };
    apply(&engine, Change::Key(Box::new(named)));
    let ask = |path| Ask { endpoint: Some((Method::Get, path)), ..Ask::with(&clear) }.decision(&engine);
    assert_eq!(ask("/v1/nobody/lists/this"), Err(Denial::InsufficientScope));
    assert_eq!(ask("/v1/things/1"), Ok(()));
}

#[test]
fn names_and_metadata_come_back_as_they_were() {
    let (engine, key, clear) = with_key();
    let key = Key {
        name: "Ümläut \"quoted\" \\ \u{1f511}".parse().unwrap(),
        metadata: serde_json::from_str(r#"{"a":"\u0000","b":[1,{}]}"#).unwrap(),
        scopes: scopes(&["things:read", "gone"]),
        ..key
    };
    apply(&engine, Change::Key(Box::new(key.clone())));
    let verified = Ask::with(&clear).verdict(&engine).key.unwrap();
    let described = engine.describe(&verified).unwrap();
    assert_eq!(described.name, key.name.as_str());
    assert_eq!(described.metadata_json, key.metadata.to_json());
    assert_eq!(described.scopes, ["gone", "things:read"]);
    let mut json = b"{".to_vec();
    assert!(engine.write_description(&verified, &mut json));
    json.push(b'}');
    let written: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(written["name"], key.name.as_str());
    apply(&engine, Change::KeyRemoved { id: key.id });
    assert_eq!(engine.describe(&verified), None);
    assert_eq!(Ask::with(&clear).decision(&engine), Err(Denial::NotFound));
}

#[test]
fn applying_twice_is_applying_once() {
    let (engine, key, clear) = with_key();
    let change = [Change::Key(Box::new(revoked(&key)))];
    engine.apply(Revision(2), &change).unwrap();
    engine.apply(Revision(2), &[Change::Key(Box::new(key))]).unwrap();
    assert_eq!((engine.revision(), Ask::with(&clear).decision(&engine)), (Revision(2), Err(Denial::Revoked)));
}
