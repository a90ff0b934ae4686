//! A webhook endpoint that answers as it likes.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::interval;

/// More than any buffer between two sockets.
const FLOOD_BYTES: usize = 10 * 1024 * 1024;

/// How it answers a request that it has read.
#[derive(Clone)]
pub(super) enum Manner {
    /// With this, to the byte.
    Says(String),
    /// With the request, as the body of a refusal.
    Mirrors,
    /// Not at all, and goes.
    Closes,
    /// Not at all, and stays.
    Hangs,
    /// With a head that comes byte by byte and does not end.
    Drips,
    /// With a body of 10 MB.
    Floods,
    /// With a head of 10 MB.
    FloodsHead,
    /// With one interim answer after the other.
    GoesOn,
}

/// An endpoint on a free port.
pub(super) struct Endpoint {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    pub(super) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, manner) = (Arc::clone(&seen), manner.clone());
                // Whoever has heard enough hangs up.
                tokio::spawn(async move { serve(stream, &seen, manner).await });
            }
        });
        Self { url, requests, task }
    }

    /// What came, each as it stood on the wire.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>, manner: Manner) -> io::Result<()> {
    let request = read(&mut stream).await?;
    seen.lock().unwrap().push(request.clone());
    let mut say = async |text: &str| stream.write_all(text.as_bytes()).await;
    match manner {
        Manner::Says(text) => say(&text).await,
        Manner::Mirrors => say(&format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n{request}", request.len())).await,
        Manner::Closes => Ok(()),
        Manner::Hangs => stream.read_u8().await.map(drop),
        Manner::Drips => {
            say("HTTP/1.1 200 OK\r\nX: ").await?;
            let mut pace = interval(Duration::from_millis(10));
            loop {
                pace.tick().await;
                say("x").await?;
            }
        }
        Manner::Floods => {
            say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {FLOOD_BYTES}\r\n\r\n")).await?;
            say(&"x".repeat(FLOOD_BYTES)).await
        }
        Manner::FloodsHead => say(&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(FLOOD_BYTES))).await,
        Manner::GoesOn => loop {
            say("HTTP/1.1 103 Early Hints\r\n\r\n").await?;
        },
    }
}

/// A whole request, whose body has a length.
async fn read(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        bytes.push(stream.read_u8().await?);
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    bytes.extend_from_slice(&body);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
