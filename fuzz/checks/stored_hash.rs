//! Feeds `StoredHash::parse` with any text that may stand where a stored hash does.
//!
//! What always holds: it never panics and never runs the hash; what is taken reads back as the same hash; a
//! text is refused when it asks for more memory or time than the bounds allow, which shows in the time that an
//! input takes.
//!
//! Not covered: the comparison itself.

use keyward::domain::hash::StoredHash;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(hash) = StoredHash::parse(text) {
        let again = StoredHash::parse(hash.as_phc()).expect("what is stored is read back");
        assert!(again == hash, "a stored hash changes when it is read back");
    }
}
