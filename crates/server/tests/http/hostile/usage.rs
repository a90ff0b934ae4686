//! Questions about usage and the audit log that nobody should ask, and names that spreadsheets would carry out.

use claviger_app::{Actor, CreateKey, UpdateOrganization};
use serde_json::{Value, json};

use crate::deployment::{Deployment, blank, commit};

/// Values of a query that mean nothing anywhere: encoded nothing, line ends, quotes, what is not UTF-8, and much.
const GARBAGE: [&str; 9] =
    ["", "%00", "%0d%0aX:%20y", "'%20OR%201=1--", "%22%3E%3Cx", "%FF%FE", "%F0%9F%A6%80", "%e2%80%ae", "../../etc"];

#[tokio::test]
async fn ranges_without_sense_are_refused_and_the_widest_are_answered() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    deployment.public("GET /v1/api-keys").bearer(&holder.secret).send().await.expect(200);
    deployment.clock.advance_seconds(2 * 3600);
    let export = "GET /admin/v1/usage/export?format=csv";
    let report = format!("GET /admin/v1/usage?organization={}&api=plain", deployment.mine);
    let own = "GET /v1/account/usage?x=";
    for (what, field) in [
        (format!("{export}&from=2026-01-15T11:00:00Z&to=2026-01-15T10:00:00Z"), "to"),
        (format!("{export}&from=9999-12-30T21:00:00Z&to=1970-01-01T00:00:00Z"), "to"),
        (format!("{export}&from=1969-12-31T23:00:00Z"), "from"),
        (format!("{export}&from=10000-01-01T00:00:00Z"), "from"),
        (format!("{export}&from=2026-01-15T10:00:00.000001Z"), "from"),
        (format!("{export}&from=2026-01-15T10:00:00%2B00:30"), "from"),
        (format!("{export}&from=2026-01-15T10:00:00Z&from=2026-01-15T10:00:00Z"), "from"),
        (format!("{export}&period=9999-01"), "period"),
        (format!("{export}&period=1969-12"), "period"),
        (format!("{export}&period=2026-01&limit=-1"), "limit"),
        (format!("{export}&period=2026-01&limit=4294967296"), "limit"),
        (format!("{export}&period=2026-01&limit=1e3"), "limit"),
        (format!("{report}&from=1970-01-01&to=9998-12-31"), "from"),
        (format!("{report}&from=9998-12-31"), "to"),
        (format!("{report}&from=2026-01-02&to=2026-01-01"), "to"),
        (format!("{report}&from=9999-01-01"), "from"),
        // Months are counted in sixteen bits: what is beyond them is no month, and not the first.
        (format!("{report}&period=9998-12"), "period"),
        (format!("{report}&period=7431-05"), "period"),
    ] {
        let refused = deployment.operator(&what).send().await.error();
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some(field)), "{what}");
    }
    assert_eq!(deployment.public(own).bearer(&holder.secret).send().await.error().2.as_deref(), Some("x"));
    let all = format!("{export}&from=1970-01-01T00:00:00Z&to=9999-12-30T21:00:00Z");
    assert_eq!(deployment.operator(&all).send().await.text.lines().count(), 2);
    for nothing in ["from=2026-01-15T10:00:00Z&to=2026-01-15T10:00:00Z", "from=9999-12-30T21:00:00Z", "period=7431-04"]
    {
        assert_eq!(
            deployment.operator(&format!("{export}&{nothing}")).send().await.text.lines().count(),
            1,
            "{nothing}"
        );
    }
    for (range, start) in [("period=7431-04", "7431-04-01T00:00:00Z"), ("period=1970-01", "1970-01-01T00:00:00Z")] {
        let shown = deployment.operator(&format!("{report}&{range}")).send().await.expect(200);
        assert_eq!((&shown["period_start"], &shown["used"]), (&json!(start), &json!(0)), "{range}");
    }
    let days = deployment.operator(&format!("{report}&from=9998-12-31&to=9998-12-31")).send().await.expect(200);
    assert_eq!((&days["used"], &days["daily"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn garbage_in_a_query_is_a_mistake_of_the_field_that_it_stands_in() {
    let deployment = Deployment::start().await;
    let holder = deployment.full().await;
    let export = "/admin/v1/usage/export?format=csv&period=2026-01";
    let report = format!("/admin/v1/usage?organization={}&api=plain", deployment.mine);
    let questions = [
        ("/admin/v1/audit?", &["organization", "actor", "action", "since", "until", "limit", "cursor"][..]),
        ("/admin/v1/audit/verification?", &["expected", "after", "limit"]),
        ("/admin/v1/audit/export?", &["after", "limit"]),
        ("/admin/v1/alerts?", &["organization", "api", "key", "kind", "state", "limit", "cursor"]),
        ("/admin/v1/usage/organizations?api=plain", &["period", "limit", "cursor"]),
        ("/admin/v1/usage?api=plain", &["organization"]),
        (&report, &["period", "from", "to"]),
        (export, &["organization", "api", "limit", "cursor"]),
        ("/admin/v1/webhooks?", &["organization", "limit", "cursor"]),
        ("/v1/account/usage?", &["period", "from", "to"]),
        ("/v1/account/alerts?", &["key", "kind", "state", "limit", "cursor"]),
    ];
    for (question, fields) in questions {
        for field in fields {
            for value in GARBAGE {
                let what = format!("GET {question}&{field}={value}").replace("?&", "?");
                let call = if question.starts_with("/v1/") {
                    deployment.public(&what).bearer(&holder.secret)
                } else {
                    deployment.operator(&what)
                };
                let (status, code, named) = call.send().await.error();
                assert_eq!((status, code.as_str()), (400, "invalid_request"), "{what}");
                // A query that is not UTF-8 is none of its fields' mistake.
                let named_rightly = named.as_deref() == Some(*field) || (named.is_none() && value == "%FF%FE");
                assert!(named_rightly, "{what}: {named:?}");
            }
        }
    }
    // A target is compared, and so it may be nothing that there is.
    for value in GARBAGE.into_iter().filter(|value| !value.is_empty()) {
        let refused = deployment.operator(&format!("GET /admin/v1/audit?target={value}")).send().await.error();
        assert_eq!(refused.0, 400, "{value}");
    }
}

#[tokio::test]
async fn one_organization_s_usage_is_in_no_other_s_report_or_export() {
    let deployment = Deployment::start().await;
    let (mine, theirs) = (deployment.full().await, deployment.create(deployment.theirs, blank()).await);
    for _ in 0..3 {
        deployment.public("GET /v1/api-keys").bearer(&theirs.secret).send().await.expect(200);
    }
    deployment.public("GET /v1/api-keys").bearer(&mine.secret).send().await.expect(200);
    let own = deployment.public("GET /v1/account/usage").bearer(&mine.secret).send().await;
    assert!(!own.text.contains(&theirs.id.to_string()) && !own.text.contains(&deployment.theirs.to_string()));
    assert_eq!(own.expect(200)["organization"]["total"], 2);
    for query in ["organization", "api", "key"] {
        let what = format!("GET /v1/account/usage?{query}={}", deployment.theirs);
        assert_eq!(deployment.public(&what).bearer(&mine.secret).send().await.error().0, 400);
    }
    deployment.clock.advance_seconds(2 * 3600);
    for format in ["csv", "ndjson", "cloudevents"] {
        let what =
            format!("GET /admin/v1/usage/export?format={format}&period=2026-01&organization={}", deployment.mine);
        let text = deployment.operator(&what).send().await.text;
        assert!(!text.contains(&theirs.id.to_string()) && !text.contains(&deployment.theirs.to_string()), "{text}");
        // Nor where somebody goes on with the place of another's.
        for cursor in
            [format!("{}~plain", deployment.theirs), format!("{}~plain~0~{}~x~allowed", deployment.theirs, theirs.id)]
        {
            let refused = deployment.operator(&format!("{what}&cursor={cursor}")).send().await.error();
            assert_eq!((refused.0, refused.2.as_deref()), (400, Some("cursor")));
        }
    }
}

/// Reads a line of CSV as RFC 4180 has it.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    fields.push(field);
    fields
}

#[tokio::test]
async fn no_name_is_a_formula_or_a_field_more_in_an_export() {
    let deployment = Deployment::start().await;
    let names = [
        "=HYPERLINK(\"http://evil.example\",\"x\")",
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1:A9)",
        "\u{ff1d}1+1",
        "\u{ff0b}1",
        "\u{ff0d}1",
        "\u{ff20}SUM(1)",
        "a,b,\"c\"",
        "\"=1+1\"",
        "'quoted",
        "M\u{fc}ller & S\u{f6}hne",
    ];
    for name in names {
        let key = deployment.create(deployment.mine, CreateKey { name: name.parse().unwrap(), ..blank() }).await;
        deployment.public("GET /v1/api-keys").bearer(&key.secret).send().await.expect(200);
    }
    deployment.clock.advance_seconds(2 * 3600);
    for name in names {
        let input = UpdateOrganization { name: Some(name.parse().unwrap()), ..UpdateOrganization::default() };
        commit(deployment.app.update_organization(&Actor::operator(), deployment.mine, input)).await.unwrap();
        let what = "GET /admin/v1/usage/export?format=csv&period=2026-01";
        let table = deployment.operator(what).send().await.text;
        let lines: Vec<Vec<String>> = table.split_terminator("\r\n").map(fields).collect();
        assert_eq!(lines.len(), names.len() + 1);
        let mut seen = Vec::new();
        for line in &lines[1..] {
            assert_eq!(line.len(), lines[0].len(), "{line:?}");
            for field in line {
                let first = field.chars().next().unwrap();
                assert!(!"=+-@\t\r\n\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(first), "{field}");
            }
            assert_eq!(line[3].trim_start_matches('\''), name.trim_start_matches('\''));
            seen.push(line[6].trim_start_matches('\'').to_owned());
        }
        seen.sort_unstable();
        let mut expected: Vec<String> = names.iter().map(|name| name.trim_start_matches('\'').to_owned()).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }
    // As JSON names are what they are.
    let what = "GET /admin/v1/usage/export?format=ndjson&period=2026-01";
    let lines = deployment.operator(what).send().await.text;
    let told: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.iter().any(|line| line["key_name"] == names[0]));
}
