//! The data directory: its place, its permissions, and the lock that lets one server in.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use claviger_app::Database;
use claviger_domain::random::Entropy;
use zeroize::Zeroizing;

use crate::failure::{Context as _, Failure};

/// Where everything in a data directory is.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

/// Longest path that a unix socket's address can hold on Linux, without the NUL at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl DataDir {
    /// Names the directory; nothing is touched.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file that usage is counted in.
    pub(crate) fn counters(&self) -> PathBuf {
        self.0.join("usage.counters")
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The socket that serves the internal listener; who may open it is the operator.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("claviger.sock")
    }

    /// The embedded database.
    pub(crate) fn database(&self) -> Database {
        Database::Sqlite(self.0.join("claviger.db"))
    }

    /// The config file that is read when none is named.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("claviger.toml")
    }

    /// Where `claviger init` puts definitions.
    pub(crate) fn apis(&self) -> PathBuf {
        self.0.join("apis")
    }

    /// Makes the directory if it is missing, for its owner alone. One that is there already is closed to others too,
    /// for what is in it opens every door, but only if it is nobody else's place: its files are closed to others
    /// either way.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        let path = self.0.display();
        let is_new = !self.0.exists();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .or_fail(|| format!("make the data directory {path}"))
            .map_err(must_be_writable)?;
        if !is_new && !self.is_ours().or_fail(|| format!("read the data directory {path}"))? {
            return Ok(());
        }
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))
            .or_fail(|| format!("close the data directory {path} to others"))
    }

    /// Whether the directory is this user's, and empty or a data directory: `/tmp` or a home directory is not.
    fn is_ours(&self) -> io::Result<bool> {
        let is_used = self.0.join("claviger.lock").exists() || self.0.join("claviger.db").exists();
        Ok(fs::metadata(&self.0)?.uid() == rustix::process::geteuid().as_raw()
            && (is_used || fs::read_dir(&self.0)?.next().is_none()))
    }

    /// Makes the directory if it is missing and keeps every other server out of it for as long as the answer lives.
    pub(crate) fn lock(&self) -> Result<DataDirLock, Failure> {
        self.create()?;
        let socket_bytes = self.socket().as_os_str().len();
        if socket_bytes > SOCKET_PATH_BYTES_MAX {
            return Err(Failure::new(format!(
                "the path of the socket {} has {socket_bytes} bytes; a unix socket allows {SOCKET_PATH_BYTES_MAX}",
                self.socket().display()
            ))
            .next("choose a data directory with a shorter path, or start in a directory nearer to it"));
        }
        let path = self.0.join("claviger.lock");
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = options.or_fail(|| format!("open {}", path.display())).map_err(must_be_writable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.taken(&mut file)),
            Err(TryLockError::Error(error)) => {
                return Err(Failure::new(format!("cannot lock {}: {error}", path.display()))
                    .next("use a data directory on a local disk"));
            }
        }
        // The number is for people; the lock itself goes when the process does, however it ends.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DataDirLock { _file: file })
    }

    /// The secret that stands for the operator's credential at the socket: made once, readable for whoever may open the
    /// socket and for nobody else.
    pub(crate) fn socket_secret(&self, entropy: &dyn Entropy) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let lost = "answers kept for repeated requests by the socket cannot be given again then";
        self.secret("socket.secret", lost, entropy)
    }

    /// The key under which signing secrets of webhooks, and mails that wait, are encrypted in the database: made once.
    pub(crate) fn delivery_key(&self, entropy: &dyn Entropy) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let lost = "every webhook endpoint needs a new signing secret then, and mails that wait are lost";
        self.secret("delivery.key", lost, entropy)
    }

    /// Where mails are written when there is no SMTP server.
    pub(crate) fn mail(&self) -> PathBuf {
        self.0.join("mail")
    }

    /// A secret in a file of its own, made when it is missing. `lost` says what comes of removing it.
    fn secret(&self, name: &str, lost: &str, entropy: &dyn Entropy) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let path = self.0.join(name);
        let mut secret = Zeroizing::new([0; 32]);
        match fs::read(&path).map(Zeroizing::new) {
            Ok(bytes) if bytes.len() == secret.len() => {
                secret.copy_from_slice(&bytes);
                return Ok(secret);
            }
            Ok(bytes) => {
                let found = format!("{} has {} bytes, not {}", path.display(), bytes.len(), secret.len());
                return Err(Failure::new(found).next(format!("put it back as it was, or remove it: {lost}")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
        }
        entropy.fill(&mut *secret);
        // Whole or not at all, whenever the process ends, and there for as long as what is encrypted under it.
        let new = path.with_added_extension("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&*secret)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().or_fail(|| format!("write {}", path.display()))?;
        Ok(secret)
    }

    fn taken(&self, file: &mut File) -> Failure {
        let mut owner = String::new();
        let _ = file.take(32).read_to_string(&mut owner);
        let owner = owner.trim().parse::<u32>().map_or(String::new(), |process| format!(" (process {process})"));
        Failure::new(format!("another server{owner} already runs on {}", self.0.display()))
            .next("stop that one first, or give this one a directory of its own with --data DIR")
    }
}

fn must_be_writable(failure: Failure) -> Failure {
    failure.next("let the user that runs claviger write there, or give it another directory with --data DIR")
}

/// While it lives, no other server runs on the directory.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use claviger_domain::random::PredictableEntropy;

    use super::*;

    #[test]
    fn the_directory_is_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let open = parent.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        for path in [open, parent.path().join("deep/new")] {
            DataDir::new(&path).create().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(parent.path()).unwrap().permissions().mode() & 0o7777;
        fs::write(parent.path().join("letter.txt"), "Dear Ada").unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let directory = DataDir::new(parent.path());
        directory.create().unwrap();
        assert_eq!(mode(), 0o1777);
        // Once it is a data directory it is closed.
        fs::write(parent.path().join("claviger.db"), "").unwrap();
        directory.create().unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn secrets_stay_the_same_and_are_their_owners_alone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDir::new(parent.path());
        type Read = fn(&DataDir, &dyn Entropy) -> Result<Zeroizing<[u8; 32]>, Failure>;
        let cases: [(&str, Read); 2] =
            [("socket.secret", DataDir::socket_secret), ("delivery.key", DataDir::delivery_key)];
        for (name, read) in cases {
            let secret = read(&directory, &PredictableEntropy::new(1)).unwrap();
            assert_eq!(secret, read(&directory, &PredictableEntropy::new(2)).unwrap());
            let path = parent.path().join(name);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::write(&path, "short").unwrap();
            assert!(read(&directory, &PredictableEntropy::new(2)).is_err());
        }
    }

    #[test]
    fn one_server_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDir::new(parent.path());
        let lock = directory.lock().unwrap();
        let refused = directory.lock().unwrap_err().to_string();
        assert!(
            refused.contains(&format!("another server (process {}) already runs on", std::process::id())),
            "{refused}"
        );
        drop(lock);
        directory.lock().unwrap();
    }

    #[test]
    fn a_socket_that_could_not_be_opened_is_refused_at_once() {
        let parent = tempfile::tempdir().unwrap();
        let refused = DataDir::new(parent.path().join("x".repeat(100))).lock().unwrap_err().to_string();
        assert!(refused.contains("a unix socket allows 107"), "{refused}");
    }
}
