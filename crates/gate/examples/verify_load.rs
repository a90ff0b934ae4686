//! A verify listener on one core for a load generator, and what to send to it: writes `verify.lua` (for `wrk -s`)
//! beside where it is run, serves for as many seconds as its argument says and ends.
//!
//! `cargo run --release -p claviger-gate --example verify_load -- 10 & sleep 1; wrk -t1 -c32 -d8 -s verify.lua http://127.0.0.1:8099/v1/verify`

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use claviger_domain::time::SystemClock;
use claviger_gate::{Door, Front, Gate, RequestBody, Verify, listen};
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use serde_json::json;
use tokio::runtime::Handle;

#[allow(clippy::unwrap_used, reason = "shared with the tests")]
#[path = "../tests/it/support.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod support;

fn main() -> std::io::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(serve(Duration::from_secs(seconds)))
}

async fn serve(how_long: Duration) -> std::io::Result<()> {
    let world = support::World::new();
    let secrets: Vec<String> = (0..10_000).map(|_| world.issue(json!({"metadata": {"team": "a"}})).1).collect();
    std::fs::write("verify.lua", script(&secrets))?;
    let fallback =
        service_fn(async |_: Request<RequestBody>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("ok"))));
    let verify = Verify::new(world.engine.clone(), std::sync::Arc::new(SystemClock));
    let front = Front::new(Handle::current(), fallback).with_verify(verify);
    let gate = Gate::open(vec![Door::tcp(listen::bind(([127, 0, 0, 1], 8099).into(), 1)?, front)])?;
    tokio::time::sleep(how_long).await;
    gate.close().await;
    Ok(())
}

/// A script that goes through the keys in turn.
fn script(secrets: &[String]) -> String {
    let body = |secret| json!({"key": secret, "method": "POST", "path": "/api/v1/evaluate", "ip": "203.0.113.7"});
    let bodies: Vec<String> = secrets.iter().map(|secret| format!("'{}'", body(secret))).collect();
    let bodies = bodies.join(",\n");
    let token = support::VERIFIER;
    format!(
        "local requests, n = {{}}, 0\n\
         function init()\n  for i, body in ipairs({{\n{bodies}}}) do\n    requests[i] = wrk.format('POST', nil, \
         {{['Authorization'] = 'Bearer {token}', ['Content-Type'] = 'application/json'}}, body)\n  end\nend\n\
         function request()\n  n = n % #requests + 1\n  return requests[n]\nend\n"
    )
}
