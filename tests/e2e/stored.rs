//! The daemon's file as an intruder or a failing disk would have it: read and damaged directly, while the
//! daemon is stopped.
//!
//! Never here: a file that a daemon holds open.

use std::path::Path;

use keyward::domain::id::KeyId;
use keyward::store::{Store, StoreOptions};
use redb::{Database, ReadableTable, TableDefinition};

const KEYS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("keys/2");
const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit/3");

/// A format that no version of the program has written.
const STRANGE_FORMAT: u8 = 0xff;

/// Overwrites the first byte of a key's record, which names its format.
pub(crate) fn corrupt_key_record(file: &Path, id: &str) {
    let number = KeyId::parse(id).unwrap().as_u128();
    let database = Database::open(file).unwrap();
    let mut txn = database.begin_write().unwrap();
    // As the daemon itself commits: its next start must find nothing to repair.
    txn.set_quick_repair(true);
    {
        let mut keys = txn.open_table(KEYS).unwrap();
        let mut record = keys.get(number).unwrap().unwrap().value().to_vec();
        record[0] = STRANGE_FORMAT;
        keys.insert(number, record.as_slice()).unwrap();
    }
    txn.commit().unwrap();
}

/// Turns one bit of what an audit row says.
pub(crate) fn edit_audit_row(file: &Path, seq: u64) {
    let database = Database::open(file).unwrap();
    let mut txn = database.begin_write().unwrap();
    txn.set_quick_repair(true);
    {
        let mut audit = txn.open_table(AUDIT).unwrap();
        let mut row = audit.get(seq).unwrap().unwrap().value().to_vec();
        // The row's checksum stands behind what it says.
        let last = row.len() - 5;
        row[last] ^= 1;
        audit.insert(seq, row.as_slice()).unwrap();
    }
    txn.commit().unwrap();
}

/// What stands in the file about a key's secret: the slow hash, and the fingerprint in hexadecimal.
pub(crate) fn secrets_at_rest(file: &Path, id: &str) -> (String, String) {
    let store = Store::open(file, StoreOptions::default()).unwrap();
    let record = store.key(KeyId::parse(id).unwrap()).unwrap().unwrap();
    store.close().unwrap();
    let secret = &record.secrets[0];
    let fingerprint = secret.fingerprint.as_ref().unwrap().fingerprint.as_bytes();
    let hexadecimal = fingerprint.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    (secret.hash.as_phc().to_owned(), hexadecimal)
}

/// Whether `text` stands anywhere in the file.
pub(crate) fn file_holds(file: &Path, text: &str) -> bool {
    let bytes = std::fs::read(file).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
