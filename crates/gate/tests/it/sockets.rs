//! The gate through real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use claviger_domain::peer::Peer;
use claviger_gate::{Door, Front, Gate, RequestBody, Verify, listen};
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::support::{VERIFIER, World};

/// Counts the requests for `/slow` that have begun.
static BEGUN: Semaphore = Semaphore::const_new(0);
/// Lets the requests for `/slow` be answered, one for each permit.
static SLOW: Semaphore = Semaphore::const_new(0);

/// Answers with the path and the peer; `/slow` on permission, `/panic` not at all.
async fn control_plane(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    match request.uri().path() {
        "/slow" => {
            BEGUN.add_permits(1);
            SLOW.acquire().await.expect("never closed").forget();
        }
        "/panic" => panic!("on purpose"),
        _ => {}
    }
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let peer = request.extensions().get::<Peer>().copied();
    Ok(Response::new(Full::new(Bytes::from(format!("{} {peer:?} on {thread}", request.uri())))))
}

fn front() -> Front {
    Front::new(Handle::current(), service_fn(control_plane))
}

async fn tcp(address: SocketAddr, request: &str) -> String {
    exchange(TcpStream::connect(address).await.unwrap(), request).await
}

async fn unix(path: &Path, request: &str) -> String {
    exchange(UnixStream::connect(path).await.unwrap(), request).await
}

async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream
        .write_all(format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_leads_to_the_control_plane() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("claviger.sock");
    let listeners = listen::bind(([127, 0, 0, 1], 0).into(), 2).unwrap();
    let address = listeners.local_addr();
    let file = listen::bind_unix(&path).unwrap();
    let gate = Gate::open(vec![Door::tcp(listeners, front()), Door::unix(file, front())]).unwrap();

    let answer = tcp(address, "GET /a?b").await;
    assert!(answer.contains("/a?b Some(Address(127.0.0.1)) on tokio-"), "{answer}");
    let answer = unix(&path, "GET /a").await;
    assert!(answer.contains("/a Some(Socket) on tokio-"), "{answer}");
    let answer = tcp(address, "GET /panic").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains(r#""code":"internal_error""#), "{answer}");
    assert!(!answer.contains("on purpose"), "{answer}");

    gate.close().await;
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_requests_in_flight() {
    let listeners = listen::bind(([127, 0, 0, 1], 0).into(), 2).unwrap();
    let address = listeners.local_addr();
    let gate = Gate::open(vec![Door::tcp(listeners, front())]).unwrap();
    let resting = TcpStream::connect(address).await.unwrap();
    let slow = tokio::spawn(async move { tcp(address, "GET /slow").await });
    BEGUN.acquire().await.unwrap().forget();

    let closing = tokio::spawn(gate.close());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!closing.is_finished() && !slow.is_finished());
    SLOW.add_permits(1);
    closing.await.unwrap();
    let answer = slow.await.unwrap();
    assert!(answer.contains("/slow Some("), "{answer}");
    drop(resting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_gate_closes_its_doors() {
    let listeners = listen::bind(([127, 0, 0, 1], 0).into(), 1).unwrap();
    let address = listeners.local_addr();
    drop(Gate::open(vec![Door::tcp(listeners, front())]).unwrap());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_come_over_one_connection() {
    let world = World::new();
    let (_, secret) = world.issue(serde_json::json!({}));
    let verify = Verify::new(Arc::clone(&world.engine), world.clock.clone());
    let listeners = listen::bind(([127, 0, 0, 1], 0).into(), 1).unwrap();
    let address = listeners.local_addr();
    let gate = Gate::open(vec![Door::tcp(listeners, front().with_verify(verify))]).unwrap();

    let head = format!("POST /v1/verify HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {VERIFIER}\r\n");
    let body = format!(r#"{{"key":"{secret}","method":"POST","path":"/api/v1/evaluate"}}"#);
    let (start, end) = body.split_at(10);
    let requests = [
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()),
        format!("{head}transfer-encoding: chunked\r\n\r\na\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\n\r\n", end.len()),
        format!("{head}content-length: 2\r\n\r\n[]"),
        // Refused for its announced length alone, and then nothing more can be read from the connection.
        format!("{head}content-length: 65537\r\n\r\n"),
    ];
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(requests.concat().as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();

    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "400", "413"], "{answers}");
    assert_eq!(answers.matches(r#"{"valid":true,"#).count(), 2, "{answers}");
    assert_eq!(answers.matches("content-length: ").count(), 4, "{answers}");
    gate.close().await;
}
