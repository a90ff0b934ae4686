//! The counter file, and an engine that counts in it and is killed.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use claviger_domain::change::{Change, Revision};
use claviger_domain::credential::Credential;
use claviger_domain::definition::{Api, Definition};
use claviger_domain::endpoint::Method;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Creator, Environment, Key, Kind, Metadata};
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::path::CanonicalPath;
use claviger_domain::period::TimeZone;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::{PresentedSecret, SecretDigest};
use claviger_domain::time::Timestamp;
use claviger_engine::usage::{RecoveredLimits, Words, recover, words_needed};
use claviger_engine::{Engine, EngineOptions, Request, UsageTotal};
use claviger_store::counters::{CounterFile, CounterFileError, LeftBehind};

const DATABASE: [u8; 16] = *b"one of databases";
const WORDS: usize = 1000;

/// A process that is being started holds copies of all locked files for a moment, so the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn left_behind(path: &Path, database: [u8; 16]) -> String {
    match CounterFile::open(path, database).unwrap().left_behind() {
        LeftBehind::Words(words) => format!("{} words, first {}", words.len(), words[0].load(Ordering::Relaxed)),
        other => format!("{other:?}"),
    }
}

#[test]
fn words_stay_in_the_file_until_it_is_begun_anew() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counters");
    assert_eq!(left_behind(&path, DATABASE), "Nothing");
    for (size, value) in [(WORDS, 7), (WORDS * 2, 8), (WORDS, 9)] {
        let words = CounterFile::open(&path, DATABASE).unwrap().begin(size).unwrap();
        assert_eq!(words.as_ref().len(), size);
        assert!(words.as_ref().iter().all(|word| word.load(Ordering::Relaxed) == 0));
        words.as_ref()[0].store(value, Ordering::Relaxed);
        assert!(matches!(CounterFile::open(&path, DATABASE), Err(CounterFileError::InUse(_))));
        drop(words);
        assert_eq!(left_behind(&path, DATABASE), format!("{size} words, first {value}"));
        assert_eq!(left_behind(&path, [0; 16]), format!("OfAnotherDatabase({DATABASE:?})"));
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn whatever_else_a_file_is_it_is_not_taken_for_words() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counters");
    drop(CounterFile::open(&path, DATABASE).unwrap().begin(WORDS).unwrap());
    let sound = fs::read(&path).unwrap();
    let check = |bytes: &[u8], expected| {
        fs::write(&path, bytes).unwrap();
        assert_eq!(left_behind(&path, DATABASE), expected);
    };
    check(&sound, "1000 words, first 0");
    check(&sound[..sound.len() - 8], "Unreadable");
    check(&sound[..4096], "Unreadable");
    check(&sound[..4095], "Unreadable");
    check(b"x", "Unreadable");
    check(b"", "Nothing");
    check(&vec![0; sound.len()], "Nothing");
    check(&[&[1], &sound[1..]].concat(), "Unreadable");
    // Whoever could read it can no more.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    check(&sound, "1000 words, first 0");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(CounterFile::open(&link, DATABASE), Err(CounterFileError::NotPlain(_))));
    fs::hard_link(&path, folder.path().join("second")).unwrap();
    assert!(matches!(CounterFile::open(&path, DATABASE), Err(CounterFileError::NotPlain(_))));
}

#[test]
fn a_disk_without_room_is_an_error_and_leaves_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counters");
    // Eight exabytes.
    let refused = CounterFile::open(&path, DATABASE).unwrap().begin((1 << 60) - (1 << 20));
    assert!(matches!(refused, Err(CounterFileError::Io { .. })), "{refused:?}");
    assert_eq!(left_behind(&path, DATABASE), "Nothing");
}

const OPTIONS: EngineOptions = EngineOptions { usage_cells: 64, keys: 0 };
/// More than fit into a table, so that the ledger has its part.
const KEYS: u64 = 58;
const THREADS: usize = 3;
const ROUNDS: u64 = 8;
const FILE: &str = "CLAVIGER_TEST_COUNTER_FILE";
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const DEFINITION: &str = include_str!("../../../apis/example.toml");

/// The child counts as fast as it can, on several threads, while hours pass in a moment and tables are handed over. Each
/// answered call is a byte in one pipe; what was collected is a line in the other, before it is forgotten. Then it is
/// killed, at another moment in each round.
#[test]
fn a_killed_process_loses_no_answered_call() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = std::env::var_os(FILE) {
        count_until_killed(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut hours = HashSet::new();
    for round in 0..ROUNDS {
        let path = folder.path().join(format!("counters{round}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_loses_no_answered_call", "--nocapture"])
            .env(FILE, &path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (answered, mut totals) = watch_and_kill(&mut child, 1000 + round * 7919);
        let file = CounterFile::open(&path, DATABASE).unwrap();
        let LeftBehind::Words(words) = file.left_behind() else { panic!("{:?}", file.left_behind()) };
        let recovered = recover(words).unwrap();
        assert_eq!((recovered.incarnation, recovered.skipped), (5, 0));
        for total in recovered.totals {
            assert!((1..=u128::from(KEYS)).contains(&total.key.as_u128()), "{total:?}");
            let known = totals.entry((total.key.as_u128(), total.hour)).or_insert(0);
            *known = (*known).max(total.count);
        }
        let counted: u64 = totals.values().sum();
        hours.extend(totals.keys().map(|(_, hour)| *hour));
        assert!((answered..=answered + THREADS as u64).contains(&counted), "{answered} answered, {counted} counted");
    }
    assert!(hours.len() > 10, "tables were handed over: {} hours", hours.len());
}

type Totals = HashMap<(u128, i64), u64>;

/// Kills the child after this many answers. Returns how many there were in the end, and what it had collected.
fn watch_and_kill(child: &mut Child, answers: u64) -> (u64, Totals) {
    let mut stdout = child.stdout.take().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let lines = thread::spawn(move || {
        let mut totals = Totals::new();
        // The last line may be cut short: it was not written, and what it says not forgotten.
        for line in stderr.split(b'\n').map(Result::unwrap) {
            let line = String::from_utf8(line).unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            let ["total", key, hour, count, "."] = words[..] else { continue };
            let known = totals.entry((key.parse().unwrap(), hour.parse().unwrap())).or_insert(0);
            *known = (*known).max(count.parse().unwrap());
        }
        totals
    });
    let (mut answered, mut is_killed) = (0, false);
    let mut buffer = [0; 256];
    loop {
        let read = stdout.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        answered += buffer[..read].iter().map(|byte| u64::from(*byte == ANSWER)).sum::<u64>();
        if answered >= answers && !is_killed {
            child.kill().unwrap();
            is_killed = true;
        }
    }
    let status = child.wait().unwrap();
    let totals = lines.join().unwrap();
    assert!(is_killed, "the child ended by itself: {status}");
    (answered, totals)
}

/// A byte that the test harness does not print.
const ANSWER: u8 = 1;

fn count_until_killed(path: &Path) -> ! {
    let words = CounterFile::open(path, DATABASE).unwrap().begin(words_needed(OPTIONS)).unwrap();
    let engine = Engine::with_counters(OPTIONS, Arc::new(words) as Words, 5, RecoveredLimits::default()).unwrap();
    let api = Api { definition: Definition::parse(DEFINITION).unwrap(), retired_formats: Vec::new() };
    let format = api.definition.choose_format(None, None, None).unwrap();
    let secrets: Vec<String> =
        (0..KEYS).map(|seed| format.issue(&PredictableEntropy::new(seed)).into_clear().to_string()).collect();
    let organization = Organization {
        id: OrganizationId::from_u128(1),
        name: "Counted".parse().unwrap(),
        status: OrganizationStatus::Active,
        time_zone: TimeZone::UTC,
        created_at: START,
    };
    let known = [Change::Api(Box::new(api.clone())), Change::Organization(organization)];
    let keys = (1..).zip(&secrets).map(|(number, secret)| Change::Key(Box::new(key(number, secret))));
    engine.load(Revision(1), known.into_iter().chain(keys)).unwrap();
    let (now, turn) = (AtomicI64::new(START.as_micros()), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // Straight to the pipe: a buffer would die with the process.
                let mut answers = fs::File::from(io::stdout().as_fd().try_clone_to_owned().unwrap());
                loop {
                    let secret = &secrets[(turn.fetch_add(1, Ordering::Relaxed) % KEYS) as usize];
                    let now = Timestamp::from_micros(now.load(Ordering::Relaxed));
                    assert!(is_allowed(&engine, now, secret));
                    answers.write_all(&[ANSWER]).unwrap();
                }
            });
        }
        loop {
            let at = Timestamp::from_micros(now.fetch_add(20 * 60 * 1_000_000, Ordering::Relaxed));
            let lines: String = engine.usage().collect(at).iter().map(line).collect();
            io::stderr().write_all(lines.as_bytes()).unwrap();
            engine.usage().close_hours(at);
        }
    })
}

fn line(total: &UsageTotal) -> String {
    format!("total {} {} {} .\n", total.key.as_u128(), total.hour, total.count)
}

fn is_allowed(engine: &Engine, now: Timestamp, secret: &str) -> bool {
    let request = Request {
        credential: Credential::Bearer(PresentedSecret::new(secret)),
        api: engine.directory().find("example"),
        endpoint: Some((Method::Get, CanonicalPath::parse("/v1/users/usr_123").unwrap())),
        ip: None,
        referrer: None,
        scopes: &[],
        cost: None,
        at_least_revision: Revision(0),
    };
    engine.verify(now, &request).is_allowed()
}

fn key(number: u128, secret: &str) -> Key {
    Key {
        id: KeyId::from_u128(number),
        organization: OrganizationId::from_u128(1),
        api: "example".parse().unwrap(),
        name: "Counted".parse().unwrap(),
        kind: Kind::Secret,
        environment: Environment::Live,
        prefix: String::new(),
        hint: String::new(),
        digest: SecretDigest::of(secret),
        old_secret: None,
        scopes: Scopes::Full,
        restrictions: Restrictions::NONE,
        parent_id: None,
        metadata: Metadata::default(),
        disabled: false,
        revocation: None,
        created_at: START,
        created_by: Creator::Operator,
        expires_at: None,
        rotated_at: None,
    }
}
