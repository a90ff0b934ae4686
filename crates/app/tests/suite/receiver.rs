//! Somebody's webhook endpoint, and how they check what comes: with nothing of ours.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How it answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// With this head after the version, and this body.
    With(String, String),
    /// With 200, and a body that never ends.
    Endless,
    /// With 200, and a body that is announced and does not come.
    Stalled,
    /// Not at all.
    Never,
    /// With what is no HTTP.
    Garbage,
}

impl Reply {
    pub(crate) fn status(status: &str) -> Self {
        Self::With(status.to_owned(), String::new())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) lines: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.document()["type"].as_str().unwrap().to_owned()
    }

    pub(crate) fn id(&self) -> &str {
        &self.lines["webhook-id"]
    }

    /// How many signatures it has.
    pub(crate) fn signatures(&self) -> usize {
        self.lines["webhook-signature"].split(' ').count()
    }

    /// Whether one of its signatures is that of this secret, `whsec_…`.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = format!("{}.{}.{}", self.id(), self.lines["webhook-timestamp"], self.body);
        let expected = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, signed.as_bytes())));
        self.lines["webhook-signature"].split(' ').any(|signature| signature == expected)
    }
}

/// As RFC 2104 has it.
fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    replies: VecDeque<Reply>,
    /// At work at this moment, and the most that ever were.
    at_once: (usize, usize),
}

/// A webhook endpoint on a free port. It answers 200 when it was not told otherwise.
pub(crate) struct Receiver {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, state, task }
    }

    /// It answers the next requests like this.
    pub(crate) fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().replies.extend(replies);
    }

    /// What came since this was last asked.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.state.lock().unwrap().received)
    }

    /// The most requests that were at work at one moment.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().at_once.1
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    let Some(received) = read(&mut stream).await else { return };
    let reply = {
        let mut state = state.lock().unwrap();
        state.received.push(received);
        state.at_once.0 += 1;
        state.at_once.1 = state.at_once.1.max(state.at_once.0);
        state.replies.pop_front().unwrap_or_else(|| Reply::status("200 OK"))
    };
    // Whoever waits no longer has closed the connection.
    let _ = answer(&mut stream, reply).await;
    state.lock().unwrap().at_once.0 -= 1;
}

async fn answer(stream: &mut BufReader<TcpStream>, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::With(head, body) => {
            let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(text.as_bytes()).await
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        Reply::Stalled => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await?;
            closed(stream).await
        }
        Reply::Never => closed(stream).await,
        Reply::Garbage => stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await,
    }
}

/// Waits until the other side gives up.
async fn closed(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    stream.read_u8().await.map(drop)
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut head = String::new();
    stream.read_line(&mut head).await.ok()?;
    let mut lines = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        lines.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; lines.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Received { head: head.trim_end().to_owned(), lines, body: String::from_utf8(body).ok()? })
}
