//! Reports and exports of usage: billing periods, days, what is left of a quota, and what a meter reads.

use claviger_app::{
    Actor, AppError, Database, ExportFormat, ExportQuery, ExportRange, PageRequest, UsageQuery, UsageRange,
    UsageReport, UsageRetention,
};
use claviger_domain::audit::Source;
use claviger_domain::definition::Definition;
use claviger_domain::endpoint::Method;
use claviger_domain::key::{Environment, Kind};
use claviger_domain::limits;
use claviger_domain::period::TimeZone;
use serde_json::Value;

use crate::suite::support::{
    Deployment, Held, commit, invalid_field, of_environment, of_kind, plain, restricted, run_sql,
};

const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// An organization on a plan with a quota, where it is, and from which day of the month on.
async fn subscribed(zone: &str, anchor_day: Option<u8>) -> (Deployment, Held) {
    let deployment = Deployment::start().await;
    let plans = "\n[[plans]]\nname = \"starter\"\ntitle = \"Starter\"\nquota = 10000\n\
                 [subscriptions]\ndefault_plan = \"starter\"\n";
    let definition = Definition::parse(&super::support::tork_with(plans)).unwrap();
    commit(deployment.app.apply_definition(&Actor::operator(), definition, false)).await.unwrap();
    let key = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    let mut statements = vec![format!("UPDATE organizations SET time_zone = '{zone}'")];
    if let Some(day) = anchor_day {
        let yes = if matches!(deployment.database, Database::Sqlite(_)) { "1" } else { "TRUE" };
        statements.push(format!(
            "INSERT INTO subscriptions SELECT id, 'tork', 'starter', 'active', 0, {yes}, {day}, 0, 1 FROM organizations"
        ));
    }
    run_sql(&deployment.database, &statements.iter().map(String::as_str).collect::<Vec<_>>()).await;
    (deployment, key)
}

async fn report(deployment: &Deployment, range: UsageRange) -> UsageReport {
    let query = UsageQuery { organization: Some(deployment.organization), api: Some("tork".parse().unwrap()), range };
    deployment.app.usage(&Actor::operator(), query).await.unwrap()
}

fn call(deployment: &Deployment, key: &Held, times: usize) {
    for _ in 0..times {
        deployment.evaluate(&key.secret).unwrap();
    }
}

fn move_to(deployment: &Deployment, at: &str) {
    let at: claviger_domain::time::Timestamp = at.parse().unwrap();
    deployment.clock.advance_micros(at.as_micros() - deployment.app.now().as_micros());
}

fn days(from: &str, to: &str) -> UsageRange {
    UsageRange::Days { from: from.parse().unwrap(), to: Some(to.parse().unwrap()) }
}

#[tokio::test]
async fn a_report_is_of_the_billing_period_where_the_organization_is() {
    // Half an hour from whole hours, and an anchor day that February does not have.
    let (deployment, key) = subscribed("Asia/Kolkata", Some(31)).await;
    call(&deployment, &key, 3);
    let first = report(&deployment, UsageRange::Current).await;
    assert_eq!(
        (first.period_start.to_string().as_str(), first.period_end.to_string().as_str()),
        ("2026-02-27T19:00:00Z", "2026-03-30T19:00:00Z")
    );
    assert_eq!((first.quota.limit, first.quota.used, first.quota.remaining), (Some(10_000), 3, Some(9_997)));
    assert_eq!((first.quota.resets_at, first.plan.unwrap().as_str()), (Some(first.period_end), "starter"));
    // The last hour of the period, by the clock there already the first of the next.
    move_to(&deployment, "2026-03-30T18:45:00Z");
    call(&deployment, &key, 1);
    assert_eq!(report(&deployment, UsageRange::Current).await.quota.used, 4);
    deployment.app.forget().await.unwrap();
    move_to(&deployment, "2026-03-30T19:00:00Z");
    let next = report(&deployment, UsageRange::Current).await;
    assert_eq!((next.quota.used, next.quota.remaining, next.period_start), (0, Some(10_000), first.period_end));
    call(&deployment, &key, 120);
    let next = report(&deployment, UsageRange::Current).await;
    assert_eq!(next.quota.remaining, Some(10_000_u64.saturating_sub(next.quota.used)));
    // What was is still known, but limits nothing any more.
    let last = report(&deployment, UsageRange::Period("2026-02".parse().unwrap())).await;
    assert_eq!((last.quota.used, last.quota.limit, last.quota.resets_at), (4, None, None));
    assert_eq!(last.daily.len(), 31);
    let counted: Vec<_> = last.daily.iter().filter(|day| day.calls.total > 0).collect();
    assert_eq!(counted.iter().map(|day| day.day.to_string()).collect::<Vec<_>>(), ["2026-03-10", "2026-03-30"]);
    assert_eq!(report(&deployment, days("2026-03-30", "2026-03-30")).await.quota.used, 1);
    assert_eq!(report(&deployment, days("2026-03-31", "2026-03-31")).await.quota.used, next.quota.used);
}

#[tokio::test]
async fn a_report_says_the_same_whatever_became_of_its_hours() {
    // The clocks go forward on 29 March.
    let (mut deployment, key) = subscribed("Europe/Berlin", None).await;
    let other = deployment.create("tork", of_kind(Kind::Secret)).await.unwrap();
    for step in 0..60_usize {
        call(&deployment, &key, 1 + step % 3);
        call(&deployment, if step.is_multiple_of(2) { &other } else { &key }, 1);
        deployment.clock.advance_seconds(10 * HOUR_SECONDS + 7);
        if step.is_multiple_of(5) {
            deployment.app.forget().await.unwrap();
            deployment.app.tend_usage().await.unwrap();
        }
        if step == 30 {
            deployment.restart().await;
        }
    }
    deployment.app.forget().await.unwrap();
    let ranges = [days("2026-03-10", "2026-04-04"), days("2026-03-29", "2026-03-29"), days("2026-03-28", "2026-03-30")];
    let all = async |deployment: &Deployment| {
        let mut reports = Vec::new();
        for range in ranges {
            reports.push(report(deployment, range).await);
        }
        reports
    };
    let before = all(&deployment).await;
    assert_eq!(before[0].organization_counts.total, 180);
    assert_eq!(before[0].daily.iter().map(|day| day.calls.total).sum::<u64>(), 180);
    assert_eq!(before[0].by_key.iter().map(|key| key.calls.total).collect::<Vec<_>>(), [150, 30]);
    assert!(before[1].organization_counts.total > 0);
    deployment.clock.advance_seconds(10 * DAY_SECONDS);
    deployment.app.tend_usage().await.unwrap();
    assert_eq!(all(&deployment).await, before, "hours became days");
    let kept_short = UsageRetention::new(*limits::USAGE_HOURS_KEPT_DAYS.start(), 400).unwrap();
    deployment.app.keep_usage_for(kept_short);
    deployment.clock.advance_seconds(60 * DAY_SECONDS);
    deployment.app.tend_usage().await.unwrap();
    assert_eq!(all(&deployment).await, before, "hours are forgotten");
    deployment.clock.advance_seconds(400 * DAY_SECONDS);
    deployment.app.tend_usage().await.unwrap();
    let after = all(&deployment).await;
    assert!(after.iter().all(|report| report.organization_counts.total == 0), "days are forgotten");
    assert_eq!(UsageRetention::new(34, 100), None);
    assert_eq!(UsageRetention::new(90, 60), None);
}

#[tokio::test]
async fn a_range_is_bounded() {
    let (deployment, _) = subscribed("UTC", None).await;
    let ask = async |from: &str, to: &str| {
        let place = (Some(deployment.organization), Some("tork".parse().unwrap()));
        let query = UsageQuery { organization: place.0, api: place.1, range: days(from, to) };
        deployment.app.usage(&Actor::operator(), query).await
    };
    assert!(ask("2025-03-10", "2026-03-10").await.is_ok());
    assert_eq!(invalid_field(ask("2025-03-09", "2026-03-10").await).as_deref(), Some("from"));
    assert_eq!(invalid_field(ask("2026-03-10", "2026-03-09").await).as_deref(), Some("to"));
    assert!(ask("1970-01-01", "1970-01-02").await.unwrap().daily.len() == 2);
    let future = ask("2026-03-10", "2026-05-10").await.unwrap();
    assert_eq!(future.daily.len(), 1, "days that have not begun are not shown");
}

#[tokio::test]
async fn a_report_tells_of_keys_only_what_the_caller_may_see() {
    let deployment = Deployment::start().await;
    let live = deployment.create("example", of_environment(Environment::Live)).await.unwrap();
    let test = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    for key in [&live, &live, &test] {
        deployment.verdict(&key.secret, Method::Get, "/v1/users/usr_123", None).decision.unwrap();
    }
    let ask = async |key: &Held| {
        let actor = Actor::key(key.id, Source::Unknown);
        deployment.app.usage(&actor, UsageQuery::default()).await.unwrap()
    };
    let seen = ask(&live).await;
    let ids: Vec<_> = seen.by_key.iter().map(|usage| (usage.id, usage.calls.total, usage.calls.billable)).collect();
    assert_eq!(ids, [(live.id, 2, 2), (test.id, 1, 0)]);
    assert_eq!(seen.by_key[0].key.as_ref().unwrap().name.as_str(), "a key");
    // A test key learns of no live key, but that there is one.
    let seen = ask(&test).await;
    assert_eq!(seen.by_key.iter().map(|usage| usage.id).collect::<Vec<_>>(), [test.id]);
    assert_eq!((seen.other_keys.keys, seen.other_keys.calls.total), (1, 2));

    // Who may see usage and not keys is not told what they are called.
    let counter = deployment.create("tork", restricted(r#"["usage:read"]"#)).await.unwrap();
    let secret = deployment.create("tork", plain("a secret name")).await.unwrap();
    deployment.evaluate(&secret.secret).unwrap();
    let seen = ask(&counter).await;
    let of_secret = seen.by_key.iter().find(|usage| usage.id == secret.id).unwrap();
    assert_eq!((of_secret.calls.total, &of_secret.key), (1, &None));
}

#[tokio::test]
async fn organizations_are_listed_with_what_they_used() {
    let (deployment, key) = subscribed("Asia/Tokyo", None).await;
    let idle = commit(deployment.app.create_organization(&Actor::operator(), "Idle".parse().unwrap(), TimeZone::UTC))
        .await
        .unwrap();
    call(&deployment, &key, 5);
    deployment.app.forget().await.unwrap();
    // These are not written yet.
    call(&deployment, &key, 2);
    let api = "tork".parse().unwrap();
    let list = async |month: Option<&str>, after, limit| {
        let month = month.map(|month| month.parse().unwrap());
        let page = PageRequest { after, limit };
        deployment.app.list_organization_usage(&Actor::operator(), &api, month, page).await.unwrap()
    };
    let page = list(None, None, 1).await;
    assert_eq!((page.rows[0].organization.id, page.rows[0].quota.used, page.more), (idle.value.id, 0, true));
    let page = list(None, Some(idle.value.id), 1).await;
    let row = &page.rows[0];
    assert_eq!((row.organization.id, row.quota.used, row.quota.remaining), (deployment.organization, 7, Some(9_993)));
    assert_eq!((row.period_start.to_string().as_str(), page.more), ("2026-02-28T15:00:00Z", false));
    let past = list(Some("2026-01"), None, 10).await;
    assert!(past.rows.iter().all(|row| row.quota.used == 0 && row.quota.limit.is_none()));
    let actor = Actor::key(key.id, Source::Unknown);
    let refused =
        deployment.app.list_organization_usage(&actor, &api, None, PageRequest { after: None, limit: 1 }).await;
    assert!(matches!(refused, Err(AppError::Forbidden { .. })));
}

async fn export(
    deployment: &Deployment,
    format: ExportFormat,
    range: ExportRange,
    limit: u32,
) -> Result<String, AppError> {
    let mut query = ExportQuery { format, organization: None, api: None, range, after: None, limit };
    let mut lines = String::new();
    loop {
        let part = deployment.app.export_usage(&Actor::operator(), &query).await?;
        lines.push_str(&part.lines);
        let Some(next) = part.next else { return Ok(lines) };
        query.after = Some(next.to_string().parse().unwrap());
    }
}

#[tokio::test]
async fn events_are_the_same_however_often_they_are_read() {
    let (mut deployment, key) = subscribed("Europe/Berlin", None).await;
    let test = deployment.create("example", of_environment(Environment::Test)).await.unwrap();
    let start = deployment.app.now();
    for _ in 0..30 {
        call(&deployment, &key, 2);
        deployment.verdict(&test.secret, Method::Get, "/v1/users/usr_123", None).decision.unwrap();
        deployment.verdict(&key.secret, Method::Get, "/api/v1/account/usage", None).decision.unwrap();
        deployment.clock.advance_seconds(HOUR_SECONDS);
    }
    let range = ExportRange::Between { from: start, to: None };
    let events = export(&deployment, ExportFormat::CloudEvents, range, 10_000).await.unwrap();
    let parsed: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: std::collections::BTreeSet<_> = parsed.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), parsed.len());
    // The last two hours are still open, so that whatever is exported stays as it is.
    assert_eq!(parsed.iter().map(|event| event["data"]["units"].as_i64().unwrap()).sum::<i64>(), 29 * 2);
    let first = &parsed[0];
    assert_eq!((&first["specversion"], &first["type"]), (&"1.0".into(), &"com.claviger.usage.v1".into()));
    assert_eq!(first["subject"], deployment.organization.to_string());
    assert_eq!(
        (&first["time"], &first["data"]["start"]),
        (&"2026-03-10T13:00:00Z".into(), &"2026-03-10T12:00:00Z".into())
    );
    assert!(first["source"].as_str().unwrap().starts_with("urn:claviger:"));
    for limit in [1, 7, 29] {
        assert_eq!(export(&deployment, ExportFormat::CloudEvents, range, limit).await.unwrap(), events, "{limit}");
    }
    let to = ExportRange::Between { from: start, to: Some(start.plus_seconds(28 * HOUR_SECONDS).unwrap()) };
    let bounded = export(&deployment, ExportFormat::CloudEvents, to, 10_000).await.unwrap();
    assert!(events.starts_with(&bounded) && bounded.lines().count() == 28);
    deployment.restart().await;
    deployment.clock.advance_seconds(10 * DAY_SECONDS);
    deployment.app.tend_usage().await.unwrap();
    assert_eq!(export(&deployment, ExportFormat::CloudEvents, to, 9).await.unwrap(), bounded);
    let period = ExportRange::Period("2026-03".parse().unwrap());
    let of_period = export(&deployment, ExportFormat::CloudEvents, period, 11).await.unwrap();
    assert!(of_period.starts_with(&bounded) && of_period.lines().count() == 30);
    let billed: i64 = of_period
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["units"].as_i64().unwrap())
        .sum();
    assert_eq!(billed.unsigned_abs(), report(&deployment, UsageRange::Current).await.quota.used);

    // Days would be other events than their hours were.
    deployment.clock.advance_seconds(100 * DAY_SECONDS);
    deployment.app.tend_usage().await.unwrap();
    let gone = export(&deployment, ExportFormat::CloudEvents, period, 10).await;
    assert!(matches!(gone, Err(AppError::Conflict { .. })), "{gone:?}");
    let rows = export(&deployment, ExportFormat::Ndjson, period, 1).await.unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.iter().map(|row| row["count"].as_i64().unwrap()).sum::<i64>(), 90);
    let row = &rows[0];
    assert_eq!((&row["start"], &row["end"]), (&"2026-03-10T12:00:00Z".into(), &"2026-03-10T23:00:00Z".into()));
}

#[tokio::test]
async fn a_table_names_keys_and_carries_out_no_formula() {
    let deployment = Deployment::start().await;
    let key = deployment.create("tork", plain("=1+1, \"x\"")).await.unwrap();
    call(&deployment, &key, 4);
    let from = deployment.app.now();
    deployment.clock.advance_seconds(5 * HOUR_SECONDS);
    let range = ExportRange::Between { from, to: None };
    let table = export(&deployment, ExportFormat::Csv, range, 1).await.unwrap();
    let expected = format!(
        "start,end,organization,organization_name,api,key,key_name,scope,outcome,count\r\n\
         2026-03-10T12:00:00Z,2026-03-10T13:00:00Z,{},Acme,tork,{},\"'=1+1, \"\"x\"\"\",evaluate,allowed,4\r\n",
        deployment.organization, key.id
    );
    assert_eq!(table, expected);
    let of_nobody = ExportQuery {
        format: ExportFormat::Csv,
        organization: Some("org_0000000000000000000000001a".parse().unwrap()),
        api: None,
        range,
        after: None,
        limit: 1,
    };
    let missing = deployment.app.export_usage(&Actor::operator(), &of_nobody).await;
    assert!(matches!(missing, Err(AppError::NotFound { what: "organization" })));
    let refused = deployment.app.export_usage(&Actor::key(key.id, Source::Unknown), &of_nobody).await;
    assert!(matches!(refused, Err(AppError::Forbidden { .. })));
}
