//! What a billing system may say, in any order and at any time; time zones, and the days on which clocks change.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::wire::Reply;

impl Deployment {
    async fn bill(&self, said: Value) -> Reply {
        let what = format!("PUT /admin/v1/organizations/{}/subscriptions/planned", self.mine);
        self.operator(&what).json(&said).send().await
    }

    async fn billed(&self, said: Value) -> Value {
        self.bill(said).await.expect(200)
    }

    async fn new_organization(&self, time_zone: &str) -> Reply {
        let body = json!({"name": "Somewhere", "time_zone": time_zone});
        self.operator("POST /admin/v1/organizations").json(&body).send().await
    }
}

#[tokio::test]
async fn of_what_is_told_the_newest_holds_to_the_microsecond() {
    let deployment = Deployment::start().await;
    deployment.define_with_plans().await;
    // The first word may be of any time, and a grace period that began then is over.
    let first = deployment.billed(json!({"state": "past_due", "event_at": "1970-01-01T00:00:00Z"})).await;
    assert_eq!((&first["applied"], &first["keys_work"]), (&json!(true), &json!(false)));
    let cases = [
        ("2026-01-15T10:29:59.999999Z", json!("canceled"), true),
        // Of two of one instant, the one that comes last.
        ("2026-01-15T10:29:59.999999Z", json!("suspended"), true),
        ("2026-01-15T10:29:59.999998Z", json!("active"), false),
        ("2016-12-31T23:59:60Z", json!("active"), false),
        ("2026-01-15T11:29:59.999999+01:00", json!("trialing"), true),
        // The sender's clock may be ahead by five minutes, and not by more.
        ("2026-01-15T10:35:00Z", json!("active"), true),
        ("2026-01-15T10:34:59.999999Z", json!("canceled"), false),
    ];
    for (event_at, state, is_taken) in cases {
        let told = deployment.billed(json!({"state": state, "event_at": event_at})).await;
        assert_eq!((&told["applied"], told["said"]["state"] == state), (&json!(is_taken), is_taken), "{event_at}");
    }
    // What says nothing of its time is of now, which is before what is known.
    assert_eq!(deployment.billed(json!({"state": "canceled"})).await["applied"], false);
    for event_at in [
        json!("2026-01-15T10:35:00.000001Z"),
        json!("2026-06-30T23:59:60Z"),
        json!("9999-12-31T23:59:59Z"),
        json!("10000-01-01T00:00:00Z"),
        json!("1969-12-31T23:59:59Z"),
        json!("2026-01-15T10:30:61Z"),
        json!("2026-01-15T10:30:00"),
        json!("2026-02-30T00:00:00Z"),
        json!("yesterday"),
        json!(""),
        json!(1_768_473_000),
        Value::Null,
    ] {
        let refused = deployment.bill(json!({"state": "canceled", "event_at": event_at})).await.error();
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some("event_at")), "{event_at}");
    }
    let held = deployment.billed(json!({"event_at": "2026-01-15T10:35:00Z"})).await;
    assert_eq!((&held["said"]["state"], &held["keys_work"]), (&json!("active"), &json!(true)));
}

#[tokio::test]
async fn of_writers_who_race_the_newest_wins_and_the_log_agrees() {
    let deployment = Deployment::start().await;
    deployment.define_with_plans().await;
    let states = ["trialing", "active", "past_due", "canceled", "suspended"];
    // Each instant once, in an order that is none.
    let told = (0..40_usize).map(|number| {
        let second = number * 17 % 40;
        deployment.billed(json!({
            "event_at": format!("2026-01-15T10:29:{second:02}Z"), "state": states[second % 5],
            "plan": if second % 2 == 0 { "small" } else { "large" }, "anchor_day": second % 31 + 1,
        }))
    });
    let answers = join_all(told).await;
    let taken = answers.iter().filter(|answer| answer["applied"] == true).count();
    let last = deployment.operator(&format!("GET /admin/v1/organizations/{}/subscriptions/planned", deployment.mine));
    let said = last.send().await.expect(200)["said"].clone();
    let expected = ("2026-01-15T10:29:39Z", "suspended", "large", 9);
    let found = (said["event_at"].as_str(), said["state"].as_str(), said["plan"].as_str(), said["anchor_day"].as_u64());
    assert_eq!(found, (Some(expected.0), Some(expected.1), Some(expected.2), Some(expected.3)));
    let mut written = deployment.recorded("subscription.updated").await;
    written.reverse();
    assert_eq!(written.len(), taken);
    let instants: Vec<&str> = written.iter().map(|event| event["after"]["event_at"].as_str().unwrap()).collect();
    assert!(instants.is_sorted_by(|one, other| one < other), "{instants:?}");
    assert_eq!(instants.last(), Some(&expected.0));
    // Each begins where the one before it ended.
    for pair in written.windows(2) {
        assert_eq!(pair[1]["before"]["event_at"], pair[0]["after"]["event_at"]);
    }
}

#[tokio::test]
async fn what_is_bought_must_be_for_sale() {
    let deployment = Deployment::start().await;
    deployment.define_with_plans().await;
    let before = deployment.billed(json!({"plan": "small"})).await;
    for (body, field) in [
        (json!({"plan": ""}), "plan"),
        (json!({"plan": "SMALL"}), "plan"),
        (json!({"plan": "small "}), "plan"),
        (json!({"plan": null}), "plan"),
        (json!({"plan": "p".repeat(33)}), "plan"),
        (json!({"state": ""}), "state"),
        (json!({"state": "Active"}), "state"),
        (json!({"state": null}), "state"),
        (json!({"state": ["active"]}), "state"),
        (json!({"anchor_day": -1}), "anchor_day"),
        (json!({"anchor_day": 256}), "anchor_day"),
        (json!({"anchor_day": 1.0}), "anchor_day"),
        (json!({"anchor_day": "31"}), "anchor_day"),
        (json!({"api_access": 1}), "api_access"),
        (json!({"api_access": null}), "api_access"),
        (json!({"organization": deployment.theirs}), "organization"),
    ] {
        let refused = deployment.bill(body.clone()).await.error();
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some(field)), "{body}");
    }
    assert_eq!(deployment.billed(json!({})).await["said"]["plan"], before["said"]["plan"]);
}

#[tokio::test]
async fn a_period_that_begins_on_the_31st_begins_with_the_last_day_of_shorter_months() {
    let deployment = Deployment::start().await;
    deployment.define_with_plans().await;
    deployment.billed(json!({"anchor_day": 31})).await;
    let what = format!("GET /admin/v1/usage?organization={}&api=planned", deployment.mine);
    let mut ends = BTreeSet::new();
    // The period that ran when that was said goes on until the next one begins.
    let first = deployment.operator(&what).send().await.expect(200);
    assert_eq!(first["period_start"], "2026-01-01T00:00:00Z");
    let mut last_end = first["period_end"].clone();
    for _ in 0..365 {
        let shown = deployment.operator(&what).send().await.expect(200);
        if shown["period_end"] != last_end {
            assert_eq!(shown["period_start"], last_end, "periods follow each other");
            last_end = shown["period_end"].clone();
        }
        ends.insert(last_end.as_str().unwrap()[..10].to_owned());
        deployment.clock.advance_seconds(24 * 3600);
    }
    let days = ["02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30", "12-31"];
    let mut expected: BTreeSet<String> = days.iter().map(|day| format!("2026-{day}")).collect();
    expected.insert("2027-01-31".to_owned());
    assert_eq!(ends, expected);
}

#[tokio::test]
async fn only_time_zones_that_people_live_in_are_known() {
    let deployment = Deployment::start().await;
    let long = format!("Europe/{}", "a".repeat(100));
    for none in [
        "",
        " ",
        "Mars/Olympus",
        "Europe",
        "Europe/",
        "Europe/Berlin ",
        "Europe/Berlin\0",
        "Europe//Berlin",
        "Europe\\Berlin",
        "../Europe/Berlin",
        "Europe/../Europe/Berlin",
        "/usr/share/zoneinfo/Europe/Berlin",
        ":Europe/Berlin",
        "UTC+1",
        "+01:00",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+03>-3",
        "UTC; DROP TABLE organizations",
        "zone.tab",
        "leapseconds",
        // What stands beside the zones in the system's folder: this machine's own, and those that count leap seconds.
        "localtime",
        "posixrules",
        "Factory",
        "Etc/Unknown",
        "right/UTC",
        "right/Europe/Berlin",
        "posix/Europe/Berlin",
        "posix/UTC",
        &long,
    ] {
        let refused = deployment.new_organization(none).await.error();
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some("time_zone")), "{none:?}");
        let what = format!("PATCH /admin/v1/organizations/{}", deployment.mine);
        let refused = deployment.operator(&what).json(&json!({"time_zone": none})).send().await.error();
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some("time_zone")), "{none:?}");
    }
    for (good, kept) in [("utc", "UTC"), ("EUROPE/berlin", "Europe/Berlin"), ("Etc/GMT+12", "Etc/GMT+12")] {
        assert_eq!(deployment.new_organization(good).await.expect(201)["time_zone"], kept, "{good}");
    }
}

/// Days are as long as they are there, and no hour is in two or in none.
#[tokio::test]
async fn days_on_which_clocks_change_are_whole() {
    let deployment = Deployment::start().await;
    for (zone, days) in [
        ("Europe/Berlin", [("2026-03-29", 23), ("2026-10-25", 25)]),
        ("America/New_York", [("2026-03-08", 23), ("2026-11-01", 25)]),
        // By half an hour, and at midnight.
        ("Australia/Lord_Howe", [("2026-04-05", 25), ("2026-10-04", 23)]),
        ("Africa/Cairo", [("2026-04-24", 23), ("2026-10-29", 25)]),
        ("America/Santiago", [("2026-04-04", 25), ("2026-09-06", 23)]),
        // A day that was left out.
        ("Pacific/Apia", [("2011-12-29", 24), ("2011-12-30", 0)]),
    ] {
        let organization = deployment.new_organization(zone).await.expect(201)["id"].as_str().unwrap().to_owned();
        for (day, hours) in days {
            let what = format!("GET /admin/v1/usage?organization={organization}&api=plain");
            let report = async |from: &str, to: &str| {
                let shown = deployment.operator(&format!("{what}&from={from}&to={to}")).send().await.expect(200);
                let hour = |name: &str| -> i64 {
                    shown[name].as_str().unwrap().parse::<claviger_domain::time::Timestamp>().unwrap().hour()
                };
                (hour("period_start"), hour("period_end"))
            };
            let (start, end) = report(day, day).await;
            assert_eq!(end - start, hours, "{zone} {day}");
            let month = &day[..8];
            let whole = report(&format!("{month}01"), &format!("{month}28")).await;
            let mut next = whole.0;
            for number in 1..=28 {
                let one = format!("{month}{number:02}");
                let (start, end) = report(&one, &one).await;
                assert_eq!(start, next, "{zone} {one}");
                next = end;
            }
            assert_eq!(next, whole.1, "{zone}");
        }
    }
}
