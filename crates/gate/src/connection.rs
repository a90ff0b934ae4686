//! One connection: hyper over a socket, watched for peers who stall, ended gracefully.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use claviger_domain::peer::Peer;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::body::AnswerBody;
use crate::front::{self, Front};
use crate::patience::{Patience, Phase, Pulse, TICK};

/// Bytes of a request's head, the request line included; more is 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request; more is 431. hyper's own limit: naming another costs an allocation a request.
pub const HEADERS_MAX: usize = 100;
/// Bytes that a connection buffers of what it reads.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// hyper's settings, the same for every connection.
pub(crate) fn settings() -> http1::Builder {
    let mut settings = http1::Builder::new();
    settings.max_header_size(HEAD_BYTES_MAX).max_buf_size(BUFFER_BYTES_MAX).header_read_timeout(None);
    // One copy of a small answer is cheaper than a vectored write of its head and body. And a client that has said all
    // it will say is still answered: looking out for its end meanwhile costs a new read buffer a request.
    settings.writev(false).half_close(true);
    settings
}

/// Serves a connection until the peer closes it, its patience with the peer is over, or `stop` becomes true
/// (or its sender is gone) and the request in flight has been answered.
pub(crate) async fn serve<I>(
    io: I,
    peer: Peer,
    front: Arc<Front>,
    settings: &http1::Builder,
    mut stop: watch::Receiver<bool>,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let pulse = Arc::new(Pulse::new());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (front, pulse) = (Arc::clone(&front), Arc::clone(&pulse));
        async move {
            let answer = match front::refusal(&request) {
                None => front.answer_watched(peer, request, &pulse).await,
                Some(refusal) => {
                    pulse.enter(Phase::Rest);
                    refusal.map(AnswerBody::whole)
                }
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(Watched { io, pulse: Arc::clone(&pulse) });
    let mut connection = pin!(settings.serve_connection(io, service));

    let mut patience = Patience::new(&pulse);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    ticks.tick().await;
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                // What goes wrong here is the peer's doing: it vanished, or it did not speak HTTP.
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            _ = ticks.tick() => {
                if patience.is_over(&pulse) {
                    return;
                }
            }
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Waits until the gate is closing, or was dropped.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A socket that notes on the pulse when bytes arrive.
struct Watched<I> {
    io: I,
    pulse: Arc<Pulse>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.pulse.bytes_arrived();
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Response;
    use http_body_util::{BodyExt as _, Full};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::runtime::Handle;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Serves one connection whose fallback reads the body, waits for a minute of a paused clock and answers.
    fn connect(stop: watch::Receiver<bool>) -> DuplexStream {
        let fallback = service_fn(|request: hyper::Request<crate::RequestBody>| async {
            let answer = match request.into_body().collect().await {
                Ok(body) => format!("{} bytes", body.to_bytes().len()),
                Err(_) => "broken".to_owned(),
            };
            sleep(Duration::from_mins(1)).await;
            Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from(answer))))
        });
        let front = Arc::new(Front::new(Handle::current(), fallback));
        let (client, server) = duplex(BUFFER_BYTES_MAX);
        tokio::spawn(async move { serve(server, Peer::Socket, front, &settings(), stop).await });
        client
    }

    /// Reads until the connection is closed, and for how many seconds that took.
    async fn read_to_end(client: &mut DuplexStream) -> (String, u64) {
        let start = Instant::now();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        (answer, start.elapsed().as_secs())
    }

    /// How long a connection lasts on which the client writes this and then nothing more.
    async fn check(written: &str, answer: &str, seconds: std::ops::Range<u64>) {
        let (_stop, stopped) = watch::channel(false);
        let mut client = connect(stopped);
        client.write_all(written.as_bytes()).await.unwrap();
        let (read, lasted) = read_to_end(&mut client).await;
        assert!(read.starts_with(answer) && read.is_empty() == answer.is_empty(), "{written:?}: {read:?}");
        assert!(seconds.contains(&lasted), "{written:?}: {lasted} s");
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_us_waiting_is_left() {
        check("", "", 10..11).await;
        check("GET / HTTP/1.1\r\nhost:", "", 10..21).await;
        check("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf", "", 30..41).await;
        // After an answer, which may take as long as it takes, the connection rests.
        check("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK", 180..201).await;
        check("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", 60..61).await;
        check("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTT", "HTTP/1.1 200 OK", 180..201).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_http_is_refused() {
        check("HELO example.com\r\n\r\n", "HTTP/1.1 400 Bad Request", 0..1).await;
        let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        check(&head, "HTTP/1.1 431 Request Header Fields Too Large", 0..1).await;
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(HEADERS_MAX + 1));
        check(&head, "HTTP/1.1 431 Request Header Fields Too Large", 0..1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_for_one_host() {
        let long_body = format!("host: a\r\nhost: a\r\ncontent-length: 90000\r\n\r\n{}", "x".repeat(1000));
        for (line, rest) in [
            ("GET / HTTP/1.1", "\r\n"),
            ("GET / HTTP/1.1", "host: a\r\nhost: a\r\n\r\n"),
            ("GET / HTTP/1.1", "host: a\r\nHost: b\r\n\r\n"),
            ("GET / HTTP/1.0", "host: a\r\nhost: b\r\n\r\n"),
            ("GET http://a/ HTTP/1.1", "host: b\r\n\r\n"),
            ("GET http://a/ HTTP/1.1", "\r\n"),
            ("CONNECT a:443 HTTP/1.1", "host: a:443\r\n\r\n"),
            ("POST /v1/verify HTTP/1.1", &long_body),
        ] {
            let (stop, stopped) = watch::channel(false);
            let mut client = connect(stopped);
            client.write_all(format!("{line}\r\n{rest}").as_bytes()).await.unwrap();
            sleep(Duration::from_secs(1)).await;
            stop.send_replace(true);
            let (answer, _) = read_to_end(&mut client).await;
            let status = answer.split(' ').nth(1);
            assert_eq!(status, Some("400"), "{line} {rest:?}: {answer}");
            assert!(answer.contains("content-type: application/problem+json"), "{answer}");
            assert!(answer.contains(r#""code":"invalid_request""#), "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
        }
        check("GET / HTTP/1.0\r\nhost: a\r\n\r\n", "HTTP/1.0 200 OK", 60..61).await;
        let absolute = "GET http://A/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        check(absolute, "HTTP/1.1 200 OK", 0..61).await;
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_one_packet_are_answered_in_turn() {
        let (_stop, stopped) = watch::channel(false);
        let mut client = connect(stopped);
        let pipelined = "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\naPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\naa";
        client.write_all(pipelined.as_bytes()).await.unwrap();
        let (answers, _) = read_to_end(&mut client).await;
        let (first, second) = (answers.find("1 bytes").unwrap(), answers.find("2 bytes").unwrap());
        assert!(first < second, "{answers}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_finished_writing_is_answered() {
        let (_stop, stopped) = watch::channel(false);
        let mut client = connect(stopped);
        client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").await.unwrap();
        client.shutdown().await.unwrap();
        let (answer, lasted) = read_to_end(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("4 bytes"), "{answer}");
        assert_eq!(lasted, 60, "and the connection ends with its answer");

        let (_stop, stopped) = watch::channel(false);
        let mut client = connect(stopped);
        client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
        client.shutdown().await.unwrap();
        let (answer, _) = read_to_end(&mut client).await;
        assert!(!answer.contains(" bytes"), "half a body is no body: {answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_a_request_and_then_the_connection() {
        let (stop, stopped) = watch::channel(false);
        let mut working = connect(stopped.clone());
        let mut resting = connect(stopped);
        working.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        sleep(Duration::from_secs(1)).await;
        stop.send_replace(true);
        assert_eq!(read_to_end(&mut resting).await, (String::new(), 0));
        let (answer, lasted) = read_to_end(&mut working).await;
        assert!(answer.contains("connection: close") && answer.ends_with("0 bytes"), "{answer}");
        assert_eq!(lasted, 59);
    }
}
