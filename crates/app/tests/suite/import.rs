//! Import: what was issued elsewhere works here, and doing it again changes nothing.

use claviger_app::{Actor, AppError, ImportKey, ImportKeys, ImportedKeys, KeyFilter, Mutated, PageRequest};
use claviger_domain::audit::{Action, Source};
use claviger_domain::denial::Denial;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::{Creator, Kind, Metadata};
use claviger_domain::limits;
use claviger_domain::period::TimeZone;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::restriction::Restrictions;
use claviger_domain::secret::SecretDigest;
use claviger_store::audit::{self, AuditFilter};
use claviger_store::keys::Selection;

use crate::suite::support::{
    Deployment, Held, Kind as Database, commit, plain, restrictions, run_sql, scopes, start_time,
};

/// A secret of tork's that was issued elsewhere.
fn secret(prefix: &str, seed: u64) -> String {
    let definition =
        claviger_domain::definition::Definition::parse(include_str!("../../../../apis/tork.toml")).unwrap();
    let format = definition.choose_format(Some(prefix), None, None).unwrap();
    format.issue(&PredictableEntropy::new(seed)).into_clear().to_string()
}

pub(crate) fn line(organization: OrganizationId, digest: SecretDigest) -> ImportKey {
    ImportKey {
        digest,
        organization,
        api: "tork".parse().unwrap(),
        name: "old".parse().unwrap(),
        prefix: "tork_live_".to_owned(),
        hint: String::new(),
        scopes: None,
        restrictions: Restrictions::NONE,
        allow_any_ip: false,
        metadata: Metadata::default(),
        created_at: None,
        expires_at: None,
        disabled: false,
    }
}

pub(crate) fn digest(number: usize) -> SecretDigest {
    SecretDigest::of(&format!("secret {number}"))
}

pub(crate) fn keys(lines: Vec<ImportKey>) -> ImportKeys {
    let lines = (1..).zip(lines).collect();
    ImportKeys { lines, has_refused_lines: false, dry_run: false, strict: false }
}

pub(crate) async fn import(deployment: &Deployment, import: ImportKeys) -> Mutated<ImportedKeys> {
    commit(deployment.app.import_keys(&Actor::operator(), import)).await.unwrap()
}

/// Imported, existing, and the number and field of each refused line.
pub(crate) fn outcome(done: &ImportedKeys) -> (usize, usize, Vec<(usize, &str)>) {
    let field = |error: &AppError| match error {
        AppError::Invalid { field: Some(field), .. } => field.clone().leak(),
        AppError::LimitReached { .. } => "limit reached",
        other => panic!("{other:?}"),
    };
    (done.imported, done.existing, done.refused.iter().map(|(line, error)| (*line, field(error) as &str)).collect())
}

#[tokio::test]
async fn an_imported_key_works_and_is_what_the_line_said() {
    let mut deployment = Deployment::start().await;
    let (full, narrow) = (secret("tork_live_", 7), secret("tork_rk_", 8));
    let created_at = "2020-02-29T01:02:03.5Z".parse().unwrap();
    let expires_at = Some("2027-01-01T00:00:00Z".parse().unwrap());
    let lines = vec![
        line(deployment.organization, SecretDigest::of(&full)),
        ImportKey {
            prefix: "tork_rk_".to_owned(),
            hint: "wxyz".to_owned(),
            scopes: Some(scopes(r#"["usage:read"]"#)),
            restrictions: restrictions(r#"{"ip": ["203.0.113.0/24"]}"#),
            metadata: serde_json::from_str(r#"{"was": 17}"#).unwrap(),
            created_at: Some(created_at),
            expires_at,
            ..line(deployment.organization, SecretDigest::of(&narrow))
        },
    ];
    assert!(deployment.evaluate(&full).is_err());
    let done = import(&deployment, keys(lines)).await;
    assert_eq!(outcome(&done.value), (2, 0, vec![]));
    assert_eq!(deployment.app.engine().revision(), done.revision);
    assert_eq!(deployment.evaluate(&full), Ok(()));
    assert_eq!(deployment.evaluate(&narrow), Err(Denial::IpNotAllowed));
    let page = PageRequest { after: None, limit: 10 };
    let listed = deployment.app.list_keys(&Actor::operator(), KeyFilter::default(), page).await.unwrap().rows;
    let (second, first) = (&listed[0], &listed[1]);
    assert_eq!((first.revision, second.revision), (done.revision, done.revision));
    assert_eq!((first.key.created_at, first.key.expires_at), (start_time(), None));
    let key = &second.key;
    assert_eq!((key.kind, key.hint.as_str(), key.created_by), (Kind::Restricted, "wxyz", Creator::Operator));
    assert_eq!((key.created_at, key.expires_at), ("2020-02-29T01:02:03Z".parse().unwrap(), expires_at));
    assert_eq!(key.metadata.to_json(), r#"{"was":17}"#);
    deployment.restart().await;
    assert_eq!(deployment.evaluate(&full), Ok(()));
}

#[tokio::test]
async fn doing_it_again_changes_nothing_whatever_became_of_the_keys() {
    let deployment = Deployment::start().await;
    let (kept, revoked, rotated) = (secret("tork_live_", 1), secret("tork_live_", 2), secret("tork_live_", 3));
    let expiring = Some("2026-03-10T13:00:00Z".parse().unwrap());
    let mut lines: Vec<ImportKey> = [&kept, &revoked, &rotated]
        .map(|secret| line(deployment.organization, SecretDigest::of(secret)))
        .into_iter()
        .collect();
    lines[0].expires_at = expiring;
    let first = import(&deployment, keys(lines.clone())).await;
    let page = PageRequest { after: None, limit: 10 };
    let listed = deployment.app.list_keys(&Actor::operator(), KeyFilter::default(), page).await.unwrap().rows;
    let id = |secret: &str| {
        listed.iter().find(|row| row.key.digest == SecretDigest::of(secret)).map(|row| row.key.id).unwrap()
    };
    commit(deployment.app.revoke_key(&Actor::operator(), id(&revoked), None, None)).await.unwrap();
    commit(deployment.app.rotate_key(&Actor::operator(), id(&rotated), 60, None)).await.unwrap();
    // What has expired since is no reason to refuse it either.
    deployment.clock.advance_micros(3_600_000_000);
    let again = import(&deployment, keys(lines)).await;
    assert_eq!(outcome(&again.value), (0, 3, vec![]));
    assert_eq!(again.revision.0, first.revision.0 + 2);
    assert_eq!(deployment.evaluate(&revoked), Err(Denial::Revoked));
    assert!(deployment.evaluate(&rotated).is_err());
    let count = deployment.app.list_keys(&Actor::operator(), KeyFilter::default(), page).await.unwrap().rows.len();
    assert_eq!(count, 3);
}

#[tokio::test]
async fn a_secret_that_a_key_has_lost_is_never_a_key_again() {
    let mut deployment = Deployment::start().await;
    let operator = Actor::operator();
    let other =
        commit(deployment.app.create_organization(&operator, "Other".parse().unwrap(), TimeZone::UTC)).await.unwrap();
    let secrets: [String; 4] = std::array::from_fn(|seed| secret("tork_live_", seed as u64));
    let lines = |organization| secrets.iter().map(|secret| line(organization, SecretDigest::of(secret))).collect();
    import(&deployment, keys(lines(deployment.organization))).await;
    let page = PageRequest { after: None, limit: 10 };
    let rows = deployment.app.list_keys(&operator, KeyFilter::default(), page).await.unwrap().rows;
    let id = |secret: &str| rows.iter().find(|row| row.key.digest == SecretDigest::of(secret)).unwrap().key.id;
    let rotate = |secret, overlap| commit(deployment.app.rotate_key(&operator, id(secret), overlap, None));
    let [at_once, by_the_next, by_revocation, by_bulk_revocation] = &secrets;
    rotate(at_once, 0).await.unwrap();
    rotate(by_the_next, 60).await.unwrap();
    let next = Held::from(rotate(by_the_next, 60).await.unwrap());
    rotate(by_revocation, 60).await.unwrap();
    commit(deployment.app.revoke_key(&operator, id(by_revocation), None, None)).await.unwrap();
    rotate(by_bulk_revocation, 60).await.unwrap();
    let all = Selection { organization: Some(deployment.organization), ..Selection::default() };
    commit(deployment.app.revoke_keys(&operator, all, None, false)).await.unwrap();
    deployment.restart().await;
    deployment.app.forget().await.unwrap();
    let before = deployment.app.engine().revision();
    assert_eq!(outcome(&import(&deployment, keys(lines(deployment.organization))).await.value), (0, 4, vec![]));
    let elsewhere = import(&deployment, keys(lines(other.value.id))).await;
    assert_eq!(outcome(&elsewhere.value), (0, 0, (1..=4).map(|number| (number, "digest")).collect()));
    let of_api = |api: &str| ImportKey {
        api: api.parse().unwrap(),
        ..line(deployment.organization, SecretDigest::of(&next.secret))
    };
    assert_eq!(outcome(&import(&deployment, keys(vec![of_api("tork")])).await.value), (0, 1, vec![]));
    assert_eq!(outcome(&import(&deployment, keys(vec![of_api("toksta")])).await.value), (0, 0, vec![(1, "digest")]));
    assert_eq!(deployment.app.engine().revision(), before);
    for secret in &secrets {
        assert!(deployment.evaluate(secret).is_err());
    }
}

#[tokio::test]
async fn what_creation_refuses_is_refused_line_by_line() {
    let deployment = Deployment::start().await;
    let held = deployment.create("tork", plain("held")).await.unwrap();
    let other = commit(deployment.app.create_organization(&Actor::operator(), "Other".parse().unwrap(), TimeZone::UTC))
        .await
        .unwrap();
    let new = |number| line(deployment.organization, digest(number));
    let time = |text: &str| Some(text.parse().unwrap());
    let restricted = |number| ImportKey { prefix: "tork_rk_".to_owned(), ..new(number) };
    let lines = vec![
        new(1),
        new(1),
        line(deployment.organization, SecretDigest::of(&held.secret)),
        line(other.value.id, SecretDigest::of(&held.secret)),
        ImportKey { api: "toksta".parse().unwrap(), ..line(deployment.organization, SecretDigest::of("x")) },
        line(OrganizationId::from_u128(1), digest(6)),
        ImportKey { api: "nope".parse().unwrap(), ..new(7) },
        ImportKey { prefix: "tork_ek_".to_owned(), ..new(8) },
        restricted(9),
        ImportKey { scopes: Some(scopes(r#"["*"]"#)), ..restricted(10) },
        ImportKey { scopes: Some(scopes(r#"["fly"]"#)), ..restricted(11) },
        ImportKey { restrictions: restrictions(r#"{"ip": ["0.0.0.0/0"]}"#), ..new(12) },
        ImportKey { restrictions: restrictions(r#"{"endpoint": ["GET /v2/x"]}"#), ..new(13) },
        ImportKey { expires_at: time("2026-03-10T12:00:00Z"), ..new(14) },
        ImportKey { expires_at: time("2126-01-01T00:00:00Z"), ..new(15) },
        ImportKey { created_at: time("2026-03-10T12:00:01Z"), ..new(16) },
        ImportKey { created_at: Some(claviger_domain::time::Timestamp::from_micros(-1)), ..new(17) },
        ImportKey { restrictions: restrictions(r#"{"ip": ["0.0.0.0/0"]}"#), allow_any_ip: true, ..new(18) },
    ];
    let done = import(&deployment, keys(lines)).await.value;
    let refused = vec![
        (2, "digest"),
        (4, "digest"),
        (5, "prefix"),
        (6, "organization"),
        (7, "api"),
        (8, "prefix"),
        (9, "scopes"),
        (10, "scopes"),
        (11, "scopes"),
        (12, "restrictions.ip"),
        (13, "restrictions.endpoint"),
        (14, "expires_at"),
        (15, "expires_at"),
        (16, "created_at"),
        (17, "created_at"),
    ];
    assert_eq!(outcome(&done), (2, 1, refused));
}

#[tokio::test]
async fn a_dry_run_and_a_strict_import_with_a_mistake_change_nothing() {
    let deployment = Deployment::start().await;
    let lines = vec![line(deployment.organization, digest(1)), line(OrganizationId::from_u128(1), digest(2))];
    let before = deployment.app.engine().revision();
    for (dry_run, strict, has_refused_lines, imported) in
        [(true, false, false, 1), (true, true, false, 1), (false, true, false, 0), (false, true, true, 0)]
    {
        let lines = if has_refused_lines { lines[..1].to_vec() } else { lines.clone() };
        let done = import(&deployment, ImportKeys { dry_run, strict, has_refused_lines, ..keys(lines) }).await;
        assert_eq!((done.value.imported, done.revision), (imported, before), "{dry_run} {strict}");
        assert_eq!(done.value.places.len(), usize::from(dry_run));
    }
    let done = import(&deployment, ImportKeys { strict: true, ..keys(lines[..1].to_vec()) }).await;
    assert_eq!(outcome(&done.value), (1, 0, vec![]));
    assert_eq!(done.revision.0, before.0 + 1);
}

#[tokio::test]
async fn an_organization_has_no_more_keys_by_import_than_by_creation() {
    let deployment = Deployment::start().await;
    let max = limits::KEYS_PER_ORGANIZATION_MAX as usize;
    let lines = |numbers: std::ops::Range<usize>| {
        keys(numbers.map(|number| line(deployment.organization, digest(number))).collect())
    };
    let dry = import(&deployment, ImportKeys { dry_run: true, ..lines(0..3) }).await.value;
    assert_eq!(dry.places.iter().map(|place| (place.new, place.left)).collect::<Vec<_>>(), [(3, max as i64)]);
    assert_eq!(import(&deployment, lines(0..max - 2)).await.value.imported, max - 2);
    deployment.create("tork", plain("one more")).await.unwrap();
    let last = import(&deployment, lines(max - 3..max)).await.value;
    assert_eq!(outcome(&last), (1, 1, vec![(3, "limit reached")]));
    assert!(matches!(deployment.create("tork", plain("too many")).await, Err(AppError::LimitReached { .. })));
    let elsewhere = ImportKey {
        api: "example".parse().unwrap(),
        prefix: "sk_live_".to_owned(),
        ..line(deployment.organization, digest(max + 1))
    };
    assert_eq!(import(&deployment, keys(vec![elsewhere])).await.value.imported, 1);
}

/// Rows for so many keys more, copied from the one of this name with ids and digests of their own. Nobody has their secrets.
async fn copy_key(deployment: &Deployment, name: &str, copies: i64) {
    let (numbers, id, digest) = match crate::DATABASE {
        Database::Sqlite => (
            format!("WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {copies})"),
            "randomblob(16)",
            "randomblob(32)",
        ),
        Database::Postgres => (
            format!("WITH numbers (n) AS (SELECT generate_series(1, {copies}))"),
            "decode(md5(n::text), 'hex')",
            "sha256(n::text::bytea)",
        ),
    };
    let same = "organization, api, name, kind, environment, prefix, hint, scopes, restrictions, metadata, disabled, revoked_at, \
                revoked_reason, created_at, created_by, revision";
    let insert = format!(
        "{numbers} INSERT INTO keys (id, digest, {same}) SELECT {id}, {digest}, {same} FROM keys, numbers WHERE name = '{name}'"
    );
    run_sql(&deployment.database, &[&insert]).await;
}

#[tokio::test]
async fn keys_that_ended_take_up_room_until_they_are_forgotten() {
    let deployment = Deployment::start().await;
    let ended = deployment.create("tork", plain("ended")).await.unwrap();
    commit(deployment.app.revoke_key(&Actor::operator(), ended.id, None, None)).await.unwrap();
    copy_key(&deployment, "ended", limits::KEYS_KEPT_PER_ORGANIZATION_MAX - 3).await;
    let elsewhere = ImportKey {
        api: "example".parse().unwrap(),
        prefix: "sk_live_".to_owned(),
        ..line(deployment.organization, digest(9))
    };
    let mut lines: Vec<_> = (1..=4).map(|number| line(deployment.organization, digest(number))).collect();
    lines.push(elsewhere);
    let message = |error: &AppError| match error {
        AppError::LimitReached { message } => message.clone(),
        other => panic!("{other:?}"),
    };
    let expected = "The organization has 100000 API keys, most of which have ended. Keys that ended are forgotten after 90 days; \
                    until then no more can be created.";
    let dry = import(&deployment, ImportKeys { dry_run: true, ..keys(lines.clone()) }).await.value;
    assert_eq!(outcome(&dry), (3, 0, vec![(3, "limit reached"), (4, "limit reached")]));
    let done = import(&deployment, keys(lines.clone())).await.value;
    assert_eq!(outcome(&done), outcome(&dry));
    assert!(done.refused.iter().all(|(_, error)| message(error) == expected), "{:?}", done.refused);
    // Again: what was taken in is there, and the rest is refused line by line as before.
    for strict in [false, true] {
        let again = import(&deployment, ImportKeys { strict, ..keys(lines.clone()) }).await.value;
        assert_eq!(outcome(&again), (0, 3, vec![(3, "limit reached"), (4, "limit reached")]));
        assert_eq!(message(&again.refused[0].1), expected);
    }
    let refused = deployment.create("tork", plain("too many")).await;
    assert_eq!(message(&refused.map(drop).unwrap_err()), expected);
    // Another organization has room of its own.
    let operator = Actor::operator();
    let other =
        commit(deployment.app.create_organization(&operator, "Other".parse().unwrap(), TimeZone::UTC)).await.unwrap();
    assert_eq!(import(&deployment, keys(vec![line(other.value.id, digest(7))])).await.value.imported, 1);
    // A key that is forgotten makes room for another, a second later at the latest.
    let forget = "DELETE FROM keys WHERE digest = (SELECT digest FROM keys WHERE name = 'ended' LIMIT 1)";
    run_sql(&deployment.database, &[forget]).await;
    deployment.clock.advance_seconds(1);
    deployment.create("tork", plain("the last")).await.unwrap();
    assert!(deployment.create("tork", plain("too many")).await.is_err());
}

#[tokio::test]
async fn an_import_is_one_event_and_only_the_operators() {
    let deployment = Deployment::start().await;
    let holder = deployment.create("tork", plain("holder")).await.unwrap();
    let lines = || keys((0..3).map(|number| line(deployment.organization, digest(number))).collect());
    let by_key = deployment.app.import_keys(&Actor::key(holder.id, Source::Unknown), lines()).await;
    assert!(matches!(by_key.map(|_| ()), Err(AppError::Forbidden { .. })));
    import(&deployment, lines()).await;
    import(&deployment, lines()).await;
    let store = deployment.close().await;
    let mut reader = store.read().await.unwrap();
    let page = PageRequest { after: None, limit: 100 };
    let events = audit::list(&mut reader, &AuditFilter::default(), page).await.unwrap().rows;
    let events = events.into_iter().map(|listed| listed.event().unwrap());
    let imports: Vec<_> = events.filter(|event| event.action == Action::KeysImported).collect();
    let [event] = imports.as_slice() else { panic!("{imports:?}") };
    assert_eq!(event.organization, Some(deployment.organization));
    let after = event.after.as_ref().unwrap();
    assert_eq!(
        event.target,
        format!("3 keys, {} to {}", after["first"].as_str().unwrap(), after["last"].as_str().unwrap())
    );
}
