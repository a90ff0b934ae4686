//! Webhook endpoints that lie, hang, flood and break off, and URLs that lead where nobody should be led.

mod endpoint;

use std::time::Duration;

use claviger_courier::{Patience, Reach};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::hostile::statuses;
use crate::wire::Reply;
use endpoint::{Endpoint, Manner};

impl Deployment {
    /// One that sends to this machine too, and has little patience.
    async fn sending() -> Self {
        let (whole, body) = (Duration::from_millis(700), Duration::from_millis(300));
        let reach = Reach { allows_http: true, allows_private_networks: true };
        Self::start_with(reach, Patience { whole, body, ..Patience::default() }).await
    }

    async fn try_webhook(&self, url: &str) -> Reply {
        let body = json!({"organization": self.mine, "url": url, "events": ["*"]});
        self.operator("POST /admin/v1/webhooks").json(&body).send().await
    }

    /// An endpoint of mine: its path on the admin API, and its secret.
    async fn listening(&self, url: &str) -> (String, String) {
        let made = self.try_webhook(url).await.expect(201);
        (format!("/admin/v1/webhooks/{}", made["id"].as_str().unwrap()), made["secret"].as_str().unwrap().to_owned())
    }

    /// Sends a ping to each and returns what the log then has of it.
    async fn pinged(&self, hooks: &[String]) -> Vec<Value> {
        let mut paths = Vec::new();
        for hook in hooks {
            let ping = self.operator(&format!("POST {hook}/test")).send().await.expect(200);
            paths.push(format!("GET {hook}/deliveries/{}", ping["event"].as_str().unwrap()));
        }
        self.app.run_due().await.unwrap();
        join_all(paths.iter().map(|path| async { self.operator(path).send().await.expect(200) })).await
    }
}

#[tokio::test]
async fn endpoints_without_manners_hold_up_nobody_and_are_told_of_as_they_are() {
    let deployment = Deployment::sending().await;
    let ok = |body: &str| Manner::Says(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let bare = |head: &str| Manner::Says(format!("{head}\r\nContent-Length: 0\r\n\r\n"));
    // The state, the status and how the reason begins.
    let manners = [
        ("says yes", ok(""), ("delivered", Some(200), None)),
        ("closes at once", Manner::Closes, ("pending", None, Some("no answer"))),
        ("never answers", Manner::Hangs, ("pending", None, Some("no answer in time"))),
        ("answers byte by byte", Manner::Drips, ("pending", None, Some("no answer in time"))),
        ("answers 10 MB", Manner::Floods, ("delivered", Some(200), None)),
        ("has a head of 10 MB", Manner::FloodsHead, ("pending", None, Some("no answer"))),
        (
            "has many header lines",
            bare(&format!("HTTP/1.1 200 OK{}", "\r\nX: y".repeat(5000))),
            ("pending", None, Some("no answer")),
        ),
        ("goes on to say to go on", Manner::GoesOn, ("pending", None, Some("no answer"))),
        (
            "is another protocol",
            Manner::Says("220 smtp.example.com ESMTP\r\n".to_owned()),
            ("pending", None, Some("no answer")),
        ),
        (
            "changes protocols",
            bare("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade"),
            ("pending", Some(101), None),
        ),
        (
            "breaks off in its head",
            Manner::Says("HTTP/1.1 200 OK\r\nContent-Le".to_owned()),
            ("pending", None, Some("no answer")),
        ),
        (
            "breaks off in its body",
            Manner::Says("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc".to_owned()),
            ("delivered", Some(200), None),
        ),
        (
            "has two lengths",
            Manner::Says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc".to_owned()),
            ("pending", None, Some("no answer")),
        ),
        ("says no", bare("HTTP/1.1 500 Oops"), ("pending", Some(500), None)),
        ("says a number that is none", bare("HTTP/1.1 999 What"), ("pending", Some(999), None)),
        ("says where else", bare("HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/"), ("pending", Some(301), None)),
        ("says escape sequences", ok("\u{1b}[2J\u{7}\0\u{202e}"), ("delivered", Some(200), None)),
    ];
    let mut endpoints = Vec::new();
    let mut hooks = Vec::new();
    for (_, manner, _) in &manners {
        let endpoint = Endpoint::start(manner.clone()).await;
        hooks.push(deployment.listening(&endpoint.url).await.0);
        endpoints.push(endpoint);
    }
    let shown = deployment.pinged(&hooks).await;
    for (((name, _, expected), shown), endpoint) in manners.iter().zip(&shown).zip(&endpoints) {
        let (state, status, reason) = expected;
        let attempt = &shown["log"][0];
        assert_eq!((shown["state"].as_str(), attempt["status"].as_u64()), (Some(*state), *status), "{name}: {attempt}");
        let told = attempt["reason"].as_str();
        assert!(
            told.zip(*reason).is_some_and(|(told, begin)| told.starts_with(begin)) || told == *reason,
            "{name}: {attempt}"
        );
        assert!(
            attempt["answer"].as_str().is_none_or(|answer| answer.len() <= 1024 && !answer.contains('\0')),
            "{name}"
        );
        assert_eq!(endpoint.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_shown_as_such_until_it_is_switched_on() {
    let deployment = Deployment::sending().await;
    let gone = Endpoint::start(Manner::Says("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n".to_owned())).await;
    let (hook, _) = deployment.listening(&gone.url).await;
    let shown = deployment.pinged(std::slice::from_ref(&hook)).await;
    assert_eq!((&shown[0]["state"], &shown[0]["log"][0]["status"]), (&json!("failed"), &json!(410)));
    let show = async || deployment.operator(&format!("GET {hook}")).send().await.expect(200);
    let off = show().await;
    assert_eq!((&off["enabled"], &off["disabled_reason"]), (&json!(false), &json!("gone")));
    let event = shown[0]["event"].as_str().unwrap();
    for (what, body) in
        [(format!("POST {hook}/test"), None), (format!("POST {hook}/replay"), Some(json!({"event": event})))]
    {
        let call = deployment.operator(&what);
        let call = if let Some(body) = body { call.json(&body) } else { call };
        assert_eq!(call.send().await.error().0, 409, "{what}");
    }
    deployment.full().await;
    deployment.app.run_due().await.unwrap();
    assert_eq!(gone.requests().len(), 1);
    deployment.operator(&format!("PATCH {hook}")).json(&json!({"enabled": true})).send().await.expect(200);
    assert_eq!(show().await["disabled_reason"], Value::Null);
    deployment.full().await;
    deployment.app.run_due().await.unwrap();
    assert_eq!(gone.requests().len(), 2);
    assert_eq!(show().await["disabled_reason"], "gone");
}

/// An endpoint that sends back what it got, and secrets that were replaced many times at once.
#[tokio::test]
async fn no_log_and_no_error_shows_a_secret() {
    let deployment = Deployment::sending().await;
    let mirror = Endpoint::start(Manner::Mirrors).await;
    let (hook, first) = deployment.listening(&mirror.url).await;
    let rotate = || deployment.operator(&format!("POST {hook}/rotate-secret")).json(&json!({"overlap_seconds": 60}));
    let mut secrets = vec![first];
    for reply in join_all((0..8).map(|_| rotate().send())).await {
        secrets.push(reply.expect(200)["secret"].as_str().unwrap().to_owned());
    }
    let key = deployment.full().await;
    deployment.operator(&format!("POST /admin/v1/keys/{}/rotate", key.id)).send().await.expect(200);
    secrets.push(key.secret);
    let mut unique = secrets.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 10, "each rotation has a secret of its own");
    let shown = deployment.pinged(std::slice::from_ref(&hook)).await;
    assert!(shown[0]["log"][0]["answer"].as_str().unwrap().contains("webhook-signature: v1,"), "{}", shown[0]);
    let requests = mirror.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        // However often it was replaced, two secrets sign: the last and the one before.
        assert_eq!(request.matches("v1,").count(), 2, "{request}");
    }
    let broken = Endpoint::start(Manner::Closes).await;
    deployment.operator(&format!("PATCH {hook}")).json(&json!({"url": broken.url})).send().await.expect(200);
    deployment.pinged(std::slice::from_ref(&hook)).await;
    let mut texts = requests;
    for what in [
        hook.clone(),
        format!("{hook}/deliveries"),
        "/admin/v1/webhooks".to_owned(),
        "/admin/v1/audit?limit=200".to_owned(),
    ] {
        texts.push(deployment.operator(&format!("GET {what}")).send().await.text);
    }
    let listed = deployment.operator(&format!("GET {hook}/deliveries")).send().await.expect(200);
    for delivery in listed["data"].as_array().unwrap() {
        let what = format!("GET {hook}/deliveries/{}", delivery["event"].as_str().unwrap());
        texts.push(deployment.operator(&what).send().await.text);
    }
    texts.push(crate::log::taken());
    let files = deployment.files();
    for secret in &secrets {
        let random = &secret[secret.find('_').unwrap() + 10..secret.len() - 5];
        assert!(texts.iter().all(|text| !text.contains(random)), "a secret is shown");
        assert!(!files.windows(random.len()).any(|bytes| bytes == random.as_bytes()), "a secret is on the disk");
    }
}

#[tokio::test]
async fn no_spelling_of_this_machine_is_a_url_to_send_to() {
    let deployment = Deployment::start().await;
    let (hook, _) = deployment.listening("https://example.com/hook").await;
    for url in [
        "https://127.0.0.1./",
        "https://127.0.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0177.1/",
        "https://0x7f000001/",
        "https://0x7F.0x1/",
        "https://%31%32%37.0.0.1/",
        "https://127.0.0.1%2e/",
        "https://loc%61lhost/",
        "https://LocalHost:8443/x",
        "https://localhost%2e/",
        "https://a.b.localhost./",
        "https:127.0.0.1/",
        "https:/127.0.0.1/",
        "https:///127.0.0.1/",
        "https:////localhost/",
        "https://[::1]:443/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fd00:ec2::254]/",
        "https://0.0.0.0/",
        "https://0/",
        "https://0x0/",
        "https://2852039166/latest/meta-data",
        "https://0xa9fea9fe/",
        "https://0251.0376.0251.0376/",
        "https://169.254.169.254./",
        "https://100.100.100.200/",
        "https://168.63.129.16/",
        "https://10.1/",
        "https://192.168.0.1:8443/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://256.256.256.256/",
        // Another host than a hurried reader sees.
        "https://example.com@127.0.0.1/",
        "https://example.com:443@127.0.0.1/",
        "https://example.com%2f@127.0.0.1/",
        "https://example.com\\@127.0.0.1/",
        "https://127.0.0.1#@example.com/",
        "https://127.0.0.1?@example.com/",
        "https://ada@example.com/",
        "https://ada:pw@example.com/",
        "https://:pw@example.com/",
        "https://example.com/#",
        // Other schemes, and what has none.
        "http://example.com/",
        "HTTP://127.0.0.1/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "file://example.com/etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "dict://127.0.0.1:11211/stat",
        "ws://example.com/",
        "unix:///run/docker.sock",
        "javascript:alert(1)",
        "data:text/plain,x",
        "//example.com/",
        "example.com",
        "https",
        "https:",
        "https://",
        "https://?x",
        // What one parser takes off and another does not.
        " https://example.com/",
        "https://example.com/ ",
        "https://exam\tple.com/",
        "https://example.com/\r\nHost: 127.0.0.1",
        "https://example.com/\u{0}",
        "https://ex%00ample.com/",
        "https://\u{2460}\u{2461}\u{2466}.0.0.1/",
        "https://localhost\u{3002}/",
        "https://127\u{ff0e}0\u{ff0e}0\u{ff0e}1/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:-1/",
    ] {
        let refused = deployment.try_webhook(url).await.error();
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some("url")), "{url:?}");
        let refused = deployment.operator(&format!("PATCH {hook}")).json(&json!({"url": url})).send().await.error();
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some("url")), "{url:?}");
    }
    let shown = deployment.operator(&format!("GET {hook}")).send().await.expect(200);
    assert_eq!(shown["url"], "https://example.com/hook");
}

#[tokio::test]
async fn of_many_who_make_endpoints_at_once_no_more_come_than_there_may_be() {
    let deployment = Deployment::start().await;
    let body = json!({"organization": deployment.mine, "url": "https://example.com/", "events": ["*"]});
    let told = statuses((0..40).map(|_| deployment.operator("POST /admin/v1/webhooks").json(&body))).await;
    assert_eq!(told, [(201, 20), (409, 20)]);
}
