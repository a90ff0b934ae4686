//! The real binary, one process a test.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Runs the server and ends it with the test, however the test ends.
///
/// The shell waits for a line on the pipe that only the test holds. The line is the signal to send; when the test
/// process is gone, killed or not, the pipe ends without a line and the server is killed. The shell gives its
/// own output away so that the server's ends when the server does. A file that would grow too large is an error there,
/// and not a signal, as on a disk that is full.
const KEEPER: &str = r#"trap '' XFSZ; "$@" & server=$!; exec >/dev/null 2>&1; read -r signal; kill -"${signal:-KILL}" "$server"; wait "$server""#;

/// A running `claviger`. Dropping it kills it and removes its directory.
pub(crate) struct Server {
    keeper: Child,
    pipe: Option<ChildStdin>,
    /// What the server said when it was ready.
    pub(crate) said: Value,
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    place: Place,
}

/// The directory of one deployment, over all servers that ever ran on it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("claviger-test-").tempdir().unwrap())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Where the server's standard error goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.path().join("stderr.log")
    }
}

impl Server {
    /// `claviger demo` on a directory of its own: the three sample APIs, and the sample upstream behind them.
    pub(crate) fn demo() -> Self {
        Self::start("demo", &[], Place::new())
    }

    /// `claviger demo` with more arguments.
    pub(crate) fn demo_with(arguments: &[&str]) -> Self {
        Self::start("demo", arguments, Place::new())
    }

    /// `claviger serve` on a directory that may have been used before.
    pub(crate) fn serve(place: Place, arguments: &[&str]) -> Self {
        Self::start("serve", arguments, place)
    }

    fn start(command: &str, arguments: &[&str], place: Place) -> Self {
        let log = File::options().create(true).append(true).open(place.log()).unwrap();
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "claviger-keeper", env!("CARGO_BIN_EXE_claviger"), command, "--json"])
            .args(["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--data"])
            .arg(place.data())
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let pipe = keeper.stdin.take();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            drop(pipe);
            let _ = keeper.wait();
            panic!("claviger {command} did not start: {line}{}", fs::read_to_string(place.log()).unwrap());
        };
        let address = |name: &str| said[name].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        let (public, internal) = (address("public_url"), address("internal_url"));
        Self { keeper, pipe, said, public, internal, place }
    }

    /// Ends the server as an operator would, and gives the directory back for the next one.
    pub(crate) fn stop(mut self) -> Place {
        self.end(Some("TERM"));
        std::mem::replace(&mut self.place, Place::new())
    }

    /// Ends the server as a crash would.
    pub(crate) fn kill(mut self) -> Place {
        self.end(None);
        std::mem::replace(&mut self.place, Place::new())
    }

    /// Asks the server to end, and does not wait until it has.
    pub(crate) fn ask_to_stop(&mut self) {
        writeln!(self.pipe.as_mut().unwrap(), "TERM").unwrap();
    }

    /// The number of the process.
    pub(crate) fn process(&self) -> Pid {
        let text = fs::read_to_string(self.data().join("claviger.lock")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    fn end(&mut self, signal: Option<&str>) {
        let Some(mut pipe) = self.pipe.take() else { return };
        if let Some(signal) = signal {
            // A server that is gone already has nothing to hear.
            let _ = writeln!(pipe, "{signal}");
        }
        drop(pipe);
        let status = self.keeper.wait().unwrap();
        if signal.is_some() {
            assert!(status.success(), "the server ended badly: {status}\n{}", self.log());
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.place.data()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.data().join("claviger.sock")
    }

    /// Everything that the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.place.log()).unwrap()
    }

    /// The names and bytes of everything on disk: the database, its write-ahead log, and whatever else there is.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect_files(&self.data(), &mut files);
        assert!(files.iter().any(|(_, bytes)| bytes.starts_with(b"SQLite format 3\0")), "there is no database");
        files
    }
}

/// Reads every file below a directory. Another process may take one away before it is read.
pub(crate) fn collect_files(directory: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let sort = entry.file_type().unwrap();
        if sort.is_dir() {
            collect_files(&entry.path(), files);
        } else if sort.is_file() {
            match fs::read(entry.path()) {
                Ok(bytes) => files.push((entry.path(), bytes)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}", entry.path().display()),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(None);
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "beside the panic's own message")]
            {
                eprintln!("--- what the server logged ---\n{}", self.log());
            }
        }
    }
}
