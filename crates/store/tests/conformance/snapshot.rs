//! What a follower starts from must be what the table holds, and rows that make no sense must not pass.

use claviger_domain::change::Change;
use claviger_domain::id::KeyId;
use claviger_domain::key::{Creator, Environment, Key, Kind, OldSecret, Revocation};
use claviger_domain::random::{Entropy as _, PredictableEntropy};
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use claviger_store::snapshot::{self, Decoder};
use claviger_store::{Connection, Store, StoreError, feed, keys};
use futures_util::TryStreamExt as _;

use crate::cases::{NOW, api, create_keys, key, later, organization, put_place};

async fn read_snapshot(store: &Store) -> Result<Vec<Change>, StoreError> {
    let mut reader = store.read().await.unwrap();
    let chunks: Vec<_> = feed::stream_snapshot(&mut reader).await.unwrap().try_collect().await?;
    let mut decoder = Decoder::default();
    let mut changes = Vec::new();
    for chunk in chunks {
        changes.extend(decoder.decode(chunk)?);
    }
    Ok(changes)
}

pub(crate) async fn the_snapshot_holds_everything(store: Store) {
    put_place(&store).await;
    let child =
        Key { parent_id: Some(KeyId::from_u128(1)), kind: Kind::Ephemeral, expires_at: Some(later(60)), ..key(2) };
    create_keys(&store, &[key(1), child.clone()]).await;
    let expected = [
        Change::Api(Box::new(api())),
        Change::Organization(organization(1)),
        Change::Key(Box::new(key(1))),
        Change::Key(Box::new(child)),
    ];
    assert_eq!(read_snapshot(&store).await.unwrap(), expected);
}

/// Texts that would end a field or a frame, if anything but its length did.
const TEXTS: [&str; 8] = ["a", ";", "12;;3;", "\u{1f511} Ümläut", "'quoted' \"name\"", "{}", "\\x00", "x\u{1f}y\u{1e}"];

/// A key that is different in every column from most others.
fn random_key(entropy: &PredictableEntropy, number: u128) -> Key {
    let mut bytes = [0; 64];
    entropy.fill(&mut bytes);
    let one_in = |place: usize, count: u8| bytes[place] % count == 0;
    let text = |place: usize| TEXTS[usize::from(bytes[place]) % TEXTS.len()];
    let micros = |place: usize| i64::from_le_bytes(bytes[place..place + 8].try_into().unwrap()) / 4;
    let at = |place: usize| Timestamp::from_micros(micros(place));
    let digest = |salt: &str| SecretDigest::of(&format!("{salt} {number}"));
    let scopes = [r#"["*"]"#, "[]", r#"["evaluate"]"#, r#"["api_keys:read","evaluate"]"#, r#"["usage:read"]"#];
    let restrictions = ["{}", r#"{"ip":[]}"#, r#"{"ip":["10.0.0.0/8"],"endpoint":["GET /a/*"]}"#];
    // Control characters are in no name.
    let name = format!("{} {number}", text(0).replace(char::is_control, "-"));
    Key {
        id: KeyId::from_u128(number << 100 | u128::from(bytes[1]) << 8 | number),
        name: name.parse().unwrap(),
        kind: [Kind::Secret, Kind::Restricted, Kind::Ephemeral][usize::from(bytes[2] % 3)],
        environment: if one_in(3, 2) { Environment::Live } else { Environment::Test },
        prefix: text(4).to_owned(),
        hint: text(5).to_owned(),
        digest: digest("new"),
        old_secret: one_in(6, 3).then(|| OldSecret { digest: digest("old"), overlap_ends_at: at(8) }),
        scopes: serde_json::from_str(scopes[usize::from(bytes[7]) % scopes.len()]).unwrap(),
        restrictions: serde_json::from_str(restrictions[usize::from(bytes[16]) % restrictions.len()]).unwrap(),
        parent_id: one_in(17, 3).then(|| KeyId::from_u128(u128::from(bytes[18]) << 64 | 31)),
        metadata: match bytes[19] % 3 {
            0 => serde_json::from_value(serde_json::json!({ text(20): [text(21), -1.5, null, {"a": {}}] })).unwrap(),
            _ => serde_json::from_str("{}").unwrap(),
        },
        disabled: one_in(22, 3),
        revocation: one_in(23, 3).then(|| Revocation {
            at: at(24),
            reason: [None, Some(String::new()), Some(text(32).to_owned())][usize::from(bytes[33] % 3)].clone(),
        }),
        created_at: at(34),
        created_by: if one_in(42, 2) {
            Creator::Operator
        } else {
            Creator::Key(KeyId::from_u128(u128::from(bytes[43])))
        },
        expires_at: one_in(44, 2).then(|| at(45)),
        rotated_at: one_in(53, 2).then(|| at(54)),
        ..key(number)
    }
}

pub(crate) async fn the_snapshot_equals_the_table_read_row_by_row(store: Store) {
    put_place(&store).await;
    let entropy = PredictableEntropy::new(7);
    // More than two chunks.
    let mut created: Vec<Key> = (1..=1100).map(|number| random_key(&entropy, number)).collect();
    // Their times are beyond what a change can tell.
    let mut tx = store.begin().await.unwrap();
    keys::create_all(&mut tx, &created);
    tx.commit(NOW).await.unwrap();
    // A gap, as deleted keys leave it.
    let mut tx = store.begin().await.unwrap();
    keys::delete(&mut tx, created.remove(500).id).await.unwrap();
    tx.commit(NOW).await.unwrap();

    let mut loaded: Vec<Key> = read_snapshot(&store).await.unwrap().into_iter().filter_map(into_key).collect();
    loaded.sort_by_key(|key| key.id);
    let mut reader = store.read().await.unwrap();
    assert_eq!(snapshot::count_keys(&mut reader).await.unwrap(), created.len());
    assert_eq!(loaded.len(), created.len());
    for (loaded, created) in loaded.iter().zip(&created) {
        let found = keys::find(&mut reader, created.id).await.unwrap().unwrap().key;
        assert_eq!((loaded, &found), (created, created));
    }
}

fn into_key(change: Change) -> Option<Key> {
    match change {
        Change::Key(key) => Some(*key),
        _ => None,
    }
}

pub(crate) async fn a_bad_row_is_no_snapshot(store: Store) {
    put_place(&store).await;
    create_keys(&store, &[key(1), key(2)]).await;
    let ruins = [
        ("id = substr(id, 2)", "an id of 15 bytes"),
        ("parent_id = substr(id, 1, 0)", "an id of 0 bytes"),
        ("digest = substr(digest, 2)", "a digest of 31 bytes"),
        ("old_digest = id, overlap_ends_at = 1", "a digest of 16 bytes"),
        ("old_digest = digest", "half of an overlap"),
        ("overlap_ends_at = 1", "half of an overlap"),
        ("kind = 'other'", "\"other\" must be one of"),
        ("name = ' '", "must not be empty"),
        ("scopes = ''", "EOF"),
        ("restrictions = ''", "EOF"),
        ("restrictions = '{\"ips\":[]}'", "unknown field"),
        ("metadata = '[]'", "invalid type"),
        ("created_by = ''", "not an id"),
    ];
    for (ruin, expected) in ruins {
        let mut tx = store.begin().await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("UPDATE keys SET {ruin} WHERE name = 'key 2'"));
        match tx.connection().await.unwrap() {
            Connection::Sqlite(tx) => drop(sqlx::query(statement).execute(&mut **tx).await.unwrap()),
            Connection::Postgres { tx, .. } => drop(sqlx::query(statement).execute(&mut **tx).await.unwrap()),
        }
        let read: Result<Vec<_>, _> = async {
            let chunks: Vec<_> = feed::stream_snapshot(tx.connection().await.unwrap()).await?.try_collect().await?;
            let mut decoder = Decoder::default();
            chunks.into_iter().map(|chunk| decoder.decode(chunk)).collect()
        }
        .await;
        match read {
            Err(StoreError::Row { table: "keys", reason }) => assert!(reason.contains(expected), "{ruin}: {reason}"),
            other => panic!("{ruin}: {other:?}"),
        }
        // Not committed: the next ruin begins with good rows.
        drop(tx);
    }
    assert_eq!(read_snapshot(&store).await.unwrap().len(), 4);
}
