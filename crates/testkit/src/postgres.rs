//! PostgreSQL in a temporary folder, one for the whole test process, one database for each test.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The server of this test process.
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    // Holds the pipe whose closing ends the server.
    _shell: Child,
}

// PostgreSQL refuses to run as root, so then it runs as nobody. Durability off: what is tested is what is asked of it.
const SHELL: &str = r#"
set -e
folder=$(mktemp -d)
as=''
if [ "$(id -u)" = 0 ]; then as='setpriv --reuid=nobody --regid=nogroup --clear-groups'; chown nobody:nogroup "$folder"; fi
cd "$folder"
$as "$1/initdb" --pgdata="$folder/data" --username=postgres --auth=trust --encoding=UTF8 --no-sync >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
$as "$1/postgres" -D "$folder/data" -h 127.0.0.1 -p "$2" -k "$folder" -c fsync=off -c max_connections=200 -c log_min_messages=fatal >>"$folder/log" 2>&1 &
server=$!
trap 'kill -QUIT $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$folder"' EXIT
until "$1/pg_isready" -q -h 127.0.0.1 -p "$2"; do kill -0 $server 2>/dev/null || { cat "$folder/log" >&2; exit 1; }; done
echo ready
cat >/dev/null
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

    fn start() -> Self {
        let programs = find_programs().expect("PostgreSQL is not installed; `cargo xtask test` installs it");
        let port = free_port();
        let mut shell = Command::new("bash")
            .args(["-c", SHELL, "postgres"])
            .arg(&programs)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts");
        let mut ready = String::new();
        let output = shell.stdout.take().expect("standard output is a pipe");
        BufReader::new(output).read_line(&mut ready).expect("the shell says when it is ready");
        assert_eq!(ready, "ready\n", "PostgreSQL did not start; see above");
        Self { port, programs, _shell: shell }
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
