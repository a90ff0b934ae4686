//! One question to a server that may not be ready yet.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Asks until the answer is yes. The server binds its socket long before it can answer, so that nearly all of the
/// waiting is one read of one connection.
pub(crate) fn until_allowed(socket: &Path, secret: &str, mut is_running: impl FnMut() -> bool) {
    let body = format!(r#"{{"key":"{secret}","api":"tork","method":"POST","path":"/api/v1/evaluate"}}"#);
    let request = format!(
        "POST /v1/verify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    loop {
        match UnixStream::connect(socket).and_then(|connection| exchange(connection, &request)) {
            Ok(answer) if answer.contains("\"valid\":true") => return,
            Ok(answer) => assert!(answer.contains("unavailable"), "the key is good: {answer}"),
            // Not bound yet, or bound and not listening.
            Err(_) => assert!(is_running(), "the server ended before it gave a verdict"),
        }
        std::thread::yield_now();
    }
}

fn exchange(mut connection: UnixStream, request: &str) -> std::io::Result<String> {
    connection.write_all(request.as_bytes())?;
    let mut answer = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim_end().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
