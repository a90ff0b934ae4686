//! A server of the real binary for one test: started on free ports, ready when it says so, gone when dropped.
//!
//! Other test programs may use this file with `#[path]`; each needs only a part of it.
#![allow(dead_code, reason = "every test program compiles this module and uses what it needs")]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;

/// The binary under test. Cargo tells where it is only to tests of its own package; others set the variable.
fn binary() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_claviger") {
        Some(path) => path.into(),
        None => std::env::var_os("CLAVIGER_BINARY").expect("CLAVIGER_BINARY names the binary under test").into(),
    }
}

/// The binary with an environment of nobody's in particular.
pub(crate) fn claviger() -> Command {
    as_nobody(binary())
}

fn as_nobody(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CLAVIGER_")) {
            command.env_remove(name);
        }
    }
    command.env("COLUMNS", "100").stdin(Stdio::null());
    command
}

/// Runs the server and ends it with the test, however the test ends.
///
/// The shell waits for a line on the pipe that only the test holds. The line is the signal to send; when the test
/// process is gone, killed or not, the pipe ends without a line and the server is asked to end. The shell gives its
/// own output away so that the server's ends when the server does.
const KEEPER: &str =
    r#""$@" & server=$!; exec >/dev/null 2>&1; read -r signal; kill -"${signal:-TERM}" "$server"; wait "$server""#;

/// A running `claviger demo` or `claviger serve`, ended on drop.
pub(crate) struct TestServer {
    keeper: Child,
    pipe: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    ready: Value,
}

impl TestServer {
    /// Starts the demo in a temporary directory.
    pub(crate) fn demo() -> Self {
        Self::start(&["demo", "--json", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"])
    }

    /// Starts the demo in this directory.
    pub(crate) fn demo_in(directory: &Path) -> Self {
        let data = directory.to_str().expect("the test's directory is UTF-8");
        Self::start(&["demo", "--json", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--data", data])
    }

    /// Starts an ordinary server in this directory.
    pub(crate) fn serve_in(directory: &Path) -> Self {
        let data = directory.to_str().expect("the test's directory is UTF-8");
        Self::start(&["serve", "--json", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--data", data])
    }

    /// Starts with these arguments, `--json` among them, and waits for the line that says it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut log = tempfile::tempfile().expect("there is room for a log");
        let stderr = log.try_clone().expect("a file can be shared");
        Self::start_logging_to(stderr.into(), arguments).unwrap_or_else(|error| {
            let mut complaint = String::new();
            log.rewind().expect("a file can be read again");
            log.read_to_string(&mut complaint).expect("the log is UTF-8");
            panic!("the server did not become ready ({error})\n{complaint}")
        })
    }

    /// An ordinary server in this directory, with a log that nobody reads.
    pub(crate) fn serve_unread_in(directory: &Path, level: &str) -> Self {
        let data = directory.to_str().expect("the test's directory is UTF-8");
        let addresses = ["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"];
        let arguments = [&["serve", "--json", "--data", data, "--log-level", level][..], &addresses].concat();
        Self::start_logging_to(Stdio::piped(), &arguments).expect("the server becomes ready")
    }

    fn start_logging_to(stderr: Stdio, arguments: &[&str]) -> Result<Self, serde_json::Error> {
        let mut command = as_nobody("/bin/sh");
        command.args(["-c", KEEPER, "claviger-keeper"]).arg(binary()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut keeper = command.spawn().expect("a shell can be started");
        let pipe = keeper.stdin.take();
        let mut stdout = BufReader::new(keeper.stdout.take().expect("standard output is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("standard output can be read");
        let mut server = Self { keeper, pipe, stdout, ready: Value::Null };
        // One that did not become ready is waited for as it is dropped, which leaves its log complete.
        server.ready = serde_json::from_str(&line)?;
        Ok(server)
    }

    /// The line that said it was ready.
    pub(crate) fn ready(&self) -> &Value {
        &self.ready
    }

    /// A text of that line, by its JSON pointer: `/apis/tork/keys/secret`.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        let found = self.ready.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("{pointer} is not in {}", self.ready))
    }

    /// Where customers reach it.
    pub(crate) fn public_url(&self) -> &str {
        self.text("/public_url")
    }

    /// Where API servers and operators reach it.
    pub(crate) fn internal_url(&self) -> &str {
        self.text("/internal_url")
    }

    /// Its unix socket.
    pub(crate) fn socket(&self) -> &Path {
        Path::new(self.text("/socket"))
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        self.socket().parent().expect("the socket is in the data directory")
    }

    /// The binary, told to ask this server over its socket.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = claviger();
        command.args(arguments).env("CLAVIGER_DATA", self.data());
        command
    }

    /// Runs a client command against this server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs a client command that must succeed and returns its JSON.
    pub(crate) fn run_json(&self, arguments: &[&str]) -> Value {
        let ran = Ran::of(self.command(arguments).arg("--json"));
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", ran.stdout))
    }

    /// Calls the public listener with a key and returns status and body.
    pub(crate) fn call(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> (u16, Value) {
        http(self.public_url(), method, path, key, body)
    }

    /// A file about the server's process, see proc(5).
    pub(crate) fn proc_file(&self, name: &str) -> String {
        let keeper = self.keeper.id();
        let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"));
        let server = children.expect("the keeper has children").trim().to_owned();
        std::fs::read_to_string(format!("/proc/{server}/{name}")).expect("the server runs")
    }

    /// Sends SIGTERM (15), SIGINT (2), … and waits for the end.
    pub(crate) fn signal(mut self, number: u32) -> ExitStatus {
        let mut pipe = self.pipe.take().expect("the pipe is held until the end");
        writeln!(pipe, "{number}").expect("the keeper listens");
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("standard output can be read");
        assert_eq!(rest, "", "nothing follows the line that says it is ready");
        self.keeper.wait().expect("the server can be waited for")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // The end of the pipe is a request to end, so that a demo removes its temporary directory.
        drop(self.pipe.take());
        let _ = self.keeper.wait();
    }
}

/// An ordinary server with the API `example` and one organization, whose id comes with it: events 2 and 3 of its log. Event 1 is that
/// the operator came.
pub(crate) fn server() -> (tempfile::TempDir, TestServer, String) {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let server = TestServer::serve_in(directory.path());
    // The first command is a sign-in, which is written when it has answered.
    let signed_in = || server.run_json(&["audit", "list", "--action", "admin.signed_in"]);
    let is_written = (0..200).any(|_| signed_in()["data"].as_array().is_some_and(|events| !events.is_empty()));
    assert!(is_written, "the sign-in is not in the log");
    let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/../../apis/example.toml");
    let applied = server.run(&["apply", definition]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    let created = server.run(&["orgs", "create", "Acme", "--quiet"]);
    assert_eq!(created.code, 0, "{}", created.stderr);
    (directory, server, created.stdout.trim().to_owned())
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it noted.
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs to the end.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::with_input(command, None)
    }

    /// Runs to the end with this on standard input.
    pub(crate) fn with_input(command: &mut Command, input: Option<&str>) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().expect("the binary can be started");
        if let Some(input) = input {
            let mut stdin = child.stdin.take().expect("standard input is piped");
            stdin.write_all(input.as_bytes()).expect("standard input can be written");
        }
        let output = child.wait_with_output().expect("the command ends");
        let code = output.status.code();
        let code = code.unwrap_or_else(|| panic!("ended by signal {:?}", output.status.signal()));
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// One HTTP request, written out: the tests need no client library, and see what really is sent.
pub(crate) fn http(url: &str, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> (u16, Value) {
    let host = url.strip_prefix("http://").expect("the URL begins with http://");
    http_for_host(host, url, method, path, key, body)
}

/// The same with another `Host`.
pub(crate) fn http_for_host(
    host: &str,
    url: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> (u16, Value) {
    let authorization = key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
    http_with_lines(url, method, path, &format!("Host: {host}\r\n{authorization}"), body)
}

/// The same with these lines in its head, each with its end, the `Host` among them.
pub(crate) fn http_with_lines(url: &str, method: &str, path: &str, lines: &str, body: Option<&Value>) -> (u16, Value) {
    let address = url.strip_prefix("http://").expect("the URL begins with http://");
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let body = body.map(ToString::to_string).unwrap_or_default();
    let content_type = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\n{content_type}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("the request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer can be read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_owned() };
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk has a size");
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}
