//! The gate through real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use claviger_domain::peer::Peer;
use claviger_gate::{Door, Front, Gate, RequestBody, listen};
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

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
