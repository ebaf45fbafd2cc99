//! Feeds the reader of key records with any bytes that a damaged file may hold.
//!
//! What always holds: it never panics; what is read can be written again and then reads as the same record.
//!
//! Not covered: the tables around the record.

use keyward::domain::id::KeyId;
use keyward::store::{key_record_from_bytes, key_record_to_bytes};

pub(crate) fn check(data: &[u8]) {
    let id = KeyId::from_u128(9);
    if let Ok(record) = key_record_from_bytes(id, data) {
        let written = key_record_to_bytes(&record).expect("what was read can be written");
        let again = key_record_from_bytes(id, &written).expect("what was written can be read");
        assert!(again == record, "a record changes when it is written and read");
    }
}
