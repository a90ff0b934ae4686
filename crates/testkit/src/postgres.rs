//! PostgreSQL in a temporary folder, one for the whole test process, one database for each test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A server: that of this test process, or one of a test's own, which it may stop and freeze.
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    shell: Mutex<Shell>,
}

/// The shell above the server. When its input ends, so does the server.
struct Shell {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

// PostgreSQL refuses to run as root, so then it runs as nobody. Durability off: what is tested is what is asked of it.
// Each of its processes has a session of its own, so freezing stops them one by one: the first, which makes the others,
// at the beginning.
const SHELL: &str = r#"
set -e
folder=$(mktemp -d)
as=''
if [ "$(id -u)" = 0 ]; then as='setpriv --reuid=nobody --regid=nogroup --clear-groups'; chown nobody:nogroup "$folder"; fi
cd "$folder"
$as "$1/initdb" --pgdata="$folder/data" --username=postgres --auth=trust --encoding=UTF8 --no-sync >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
start() {
    $as "$1/postgres" -D "$folder/data" -h 127.0.0.1 -p "$2" -k "$folder" -c fsync=off -c max_connections=200 -c log_min_messages=fatal >>"$folder/log" 2>&1 &
    server=$!
    until "$1/pg_isready" -q -h 127.0.0.1 -p "$2"; do kill -0 $server 2>/dev/null || { cat "$folder/log" >&2; exit 1; }; done
}
children() { cat /proc/$server/task/$server/children; }
trap 'kill -CONT $server $(children) 2>/dev/null; kill -QUIT $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$folder"' EXIT
start "$@"
echo done
while read -r wish; do
    case $wish in
        stop) kill -QUIT $server; wait $server || true ;;
        start) start "$@" ;;
        freeze) kill -STOP $server; kill -STOP $(children) ;;
        thaw) kill -CONT $(children) $server ;;
    esac
    echo done
done
"#;

impl Postgres {
    /// The server of this test process, started when first asked for.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start: the message says what to do.
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// When the server does not make it.
    pub fn create_database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let created = Command::new(self.programs.join("createdb"))
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", &name])
            .status()
            .expect("createdb stands beside postgres");
        assert!(created.success(), "createdb {name} failed");
        format!("postgres://postgres@127.0.0.1:{port}/{name}")
    }

    /// The answer to a query, rows by line and columns by `|`.
    ///
    /// # Panics
    /// When the server does not answer it.
    pub fn query(&self, url: &str, query: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", query, url])
            .output()
            .expect("psql stands beside postgres");
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// A server that is the caller's alone, gone when it is dropped.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start: the message says what to do.
    pub fn start() -> Self {
        let programs = find_programs().expect("PostgreSQL is not installed; `cargo xtask test` installs it");
        let port = free_port();
        let mut process = Command::new("bash")
            .args(["-c", SHELL, "postgres"])
            .arg(&programs)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("standard output is a pipe"));
        let mut shell = Shell { process, input, output };
        shell.must_be_done();
        Self { port, programs, shell: Mutex::new(shell) }
    }

    /// Ends the server at once, as a crash would; it comes back with what was committed.
    pub fn stop(&self) {
        self.wish("stop");
    }

    /// Starts the server again on the same port, and returns when it can be used.
    pub fn start_again(&self) {
        self.wish("start");
    }

    /// Stops every process of the server where it is: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.wish("freeze");
    }

    /// Lets the server go on.
    pub fn thaw(&self) {
        self.wish("thaw");
    }

    fn wish(&self, wish: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let input = shell.input.as_mut().expect("the input is open until the server is dropped");
        writeln!(input, "{wish}").expect("the shell listens");
        shell.must_be_done();
    }
}

impl Shell {
    fn must_be_done(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the shell's output can be read");
        assert_eq!(line, "done\n", "PostgreSQL did not do as it was told; see above");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.input.take());
        // Until the server and its folder are gone. A shell that cannot be waited for is gone already.
        let _ = self.process.wait();
    }
}

/// Debian keeps the server programs out of the path.
fn find_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.into_iter().rev().find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
}

/// A port that nobody listens on now. Another process may take it before the server does; then the start fails loudly.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
