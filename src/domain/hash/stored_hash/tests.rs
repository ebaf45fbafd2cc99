//! Every kind against a vector of its own authors, every bound from both sides, and text that is nothing.
//!
//! Never here: a hash that takes longer than a blink.

use proptest::prelude::*;

use super::*;
use crate::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};

/// The reference implementation's own, of `password`.
const ARGON2ID: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
const ARGON2ID_TWO_LANES: &str =
    "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";
/// Openwall's, of `U*U`.
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
/// RFC 7914's third, of `pleaseletmein`.
const SCRYPT: &str = "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$\
    cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw";
/// FIPS 180-2's first, of `abc`.
const SHA256: &str = "$sha256$ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";

fn cheap() -> SlowHashCost {
    SlowHashCost::new(SlowHashCost::MEMORY_KIB_MIN, 1).unwrap()
}

fn key(byte: u8) -> RawKey {
    RawKey::mint(&Tag::parse("sk_live_").unwrap(), &[byte; MINT_RANDOM_BYTES]).unwrap()
}

fn matches(stored: &str, text: &[u8]) -> bool {
    StoredHash::parse(stored).unwrap().matches_text(text, &mut SlowHashMemory::default())
}

#[test]
fn a_hash_matches_its_own_text_only_and_survives_its_phc_string() {
    let mut memory = SlowHashMemory::default();
    let hash = StoredHash::create(&key(1).as_presented(), [3; SALT_LEN], cheap(), &mut memory).unwrap();
    let read = StoredHash::parse(hash.as_phc()).unwrap();
    assert!(read == hash);
    assert!(read.matches(&key(1).as_presented(), &mut memory));
    assert!(!read.matches(&key(2).as_presented(), &mut memory));
}

#[test]
fn every_kind_matches_the_vector_of_its_authors_and_no_near_miss() {
    let vectors: [(&str, &[u8], HashKind); 5] = [
        (ARGON2ID, b"password", HashKind::Argon2id),
        (ARGON2ID_TWO_LANES, b"password", HashKind::Argon2id),
        (BCRYPT, b"U*U", HashKind::Bcrypt),
        (SCRYPT, b"pleaseletmein", HashKind::Scrypt),
        (SHA256, b"abc", HashKind::Sha256),
    ];
    for (stored, text, kind) in vectors {
        assert_eq!(StoredHash::parse(stored).unwrap().kind(), kind);
        assert!(matches(stored, text), "{stored}");
        for near in
            [&text[1..], &text[..text.len() - 1], &[text, b"\0"].concat(), &[text, b"x"].concat(), b""]
        {
            assert!(!matches(stored, near), "{stored}");
        }
    }
    for other in ["$2b$", "$2y$"] {
        assert!(matches(&BCRYPT.replace("$2a$", other), b"U*U"), "{other}");
    }
}

#[test]
fn one_memory_serves_hashes_of_different_sizes_one_after_the_other() {
    let mut memory = SlowHashMemory::default();
    for stored in [ARGON2ID_TWO_LANES, ARGON2ID, ARGON2ID_TWO_LANES] {
        assert!(StoredHash::parse(stored).unwrap().matches_text(b"password", &mut memory));
        let hash = StoredHash::create(&key(1).as_presented(), [3; SALT_LEN], cheap(), &mut memory).unwrap();
        assert!(hash.matches(&key(1).as_presented(), &mut memory));
    }
}

#[test]
fn a_text_that_bcrypt_would_cut_short_never_matches() {
    let long = [b'k'; 80];
    let hash_of = |text: &[u8]| ::bcrypt::hash_with_salt(text, 4, [7; 16]).unwrap().to_string();
    assert!(matches(&hash_of(&long[..71]), &long[..71]), "the longest that is read whole");
    // What other libraries make of 80 bytes is the hash of the first 72, which are nobody's key.
    assert!(::bcrypt::verify(&long[..72], &hash_of(&long)).unwrap());
    assert!(!matches(&hash_of(&long), &long[..72]));
    assert!(!matches(&hash_of(&long), &long));
    assert!(!matches(&hash_of(b"k"), b"k\0k"), "a zero byte ends the text for bcrypt");
    assert_eq!(StoredHash::parse(BCRYPT).unwrap().text_bytes_max(), Some(71));
    assert_eq!(StoredHash::parse(SCRYPT).unwrap().text_bytes_max(), None);
}

#[test]
fn a_long_part_passes_behind_its_own_head_only() {
    let hash = StoredHash::sha256_long(sha256(b"longpart"));
    assert!(hash.matches_digest(b"acme_short_longpart", "acme_short_"));
    for other in ["acme_other_longpart", "longpart", "acme_short_longpar", "Acme_short_longpart"] {
        assert!(!hash.matches_digest(other.as_bytes(), "acme_short_"), "{other}");
    }
    assert!(!hash.matches_text(b"longpart", &mut SlowHashMemory::default()), "a part is not the whole");
    assert_eq!(hash.kind().name(), "sha256_long", "one word, as programs read it");
    let whole = StoredHash::sha256_whole(sha256(b"acme_key"));
    assert!(whole.matches_digest(b"acme_key", "acme_"));
    assert!(!whole.matches_digest(b"acme_key", "other_"));
    assert!(!StoredHash::parse(BCRYPT).unwrap().matches_digest(b"U*U", ""), "a slow kind has no digest");
}

#[test]
fn a_digest_survives_its_text_at_rest_and_has_no_other_one() {
    let digest = sha256(b"abc");
    for hash in [StoredHash::sha256_whole(digest), StoredHash::sha256_long(digest)] {
        let read = StoredHash::parse(hash.as_phc()).unwrap();
        assert!(read == hash && !read.is_slow());
        assert_eq!(read.digest(), Some(&digest));
    }
    assert_eq!(StoredHash::sha256_whole(digest).as_phc(), SHA256);
    let padded = format!("{SHA256}=");
    let hexadecimal = format!("{WHOLE}{}", hex::encode(digest));
    for other in [padded, hexadecimal, WHOLE.to_owned(), LONG.to_owned()] {
        assert!(StoredHash::parse(&other).is_none(), "{other}");
    }
}

#[test]
fn only_what_a_re_hash_would_leave_alone_is_the_default() {
    let mut memory = SlowHashMemory::default();
    let own = StoredHash::create(&key(1).as_presented(), [3; SALT_LEN], cheap(), &mut memory).unwrap();
    assert!(own.is_default(cheap()) && !own.is_default(SlowHashCost::DEFAULT));
    for other in [ARGON2ID, ARGON2ID_TWO_LANES, BCRYPT, SCRYPT] {
        let hash = StoredHash::parse(other).unwrap();
        assert!(!hash.is_default(cheap()) && !hash.is_default(SlowHashCost::new(256, 2).unwrap()), "{other}");
        assert!(hash.is_slow() && hash.digest().is_none(), "{other}");
    }
    assert!(StoredHash::parse(SHA256).unwrap().is_default(cheap()), "a digest is never hashed anew");
}

/// Attack C08.
#[test]
fn parameters_beyond_the_bounds_are_refused_unrun_and_the_bounds_are_told() {
    // Salts and outputs are not at issue here, so that no hash needs to be made.
    let (salt, output) = ("AwMDAwMDAwMDAwMDAwMDAw", "qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A");
    let argon2id = |params: &str| format!("$argon2id$v=19${params}${salt}${output}");
    let scrypt = |params: &str| format!("$scrypt${params}${salt}${output}");
    let bcrypt = |cost: &str| BCRYPT.replace("$05$", &format!("${cost}$"));
    for good in [
        argon2id("m=19456,t=2,p=1"),
        argon2id("m=65536,t=4,p=4"),
        argon2id("m=32,t=1,p=4"),
        argon2id("p=1,t=1,m=8"),
        scrypt("ln=16,r=8,p=4"),
        scrypt("ln=19,r=1,p=1"),
        scrypt("ln=13,r=64,p=1"),
        bcrypt("04"),
        bcrypt("12"),
    ] {
        assert!(StoredHash::parse(&good).is_some(), "{good}");
    }
    for (bad, bounds) in [
        (argon2id("m=4194304,t=2,p=1"), "argon2id with m out of bounds: expected 8 to 65536"),
        (argon2id("m=7,t=2,p=1"), "argon2id with m out of bounds: expected 8 to 65536"),
        (argon2id("m=31,t=2,p=4"), "argon2id with m out of bounds: expected 32 to 65536"),
        (argon2id("m=19456,t=1000000,p=1"), "argon2id with t out of bounds: expected 1 to 4"),
        (argon2id("m=19456,t=0,p=1"), "argon2id with t out of bounds: expected 1 to 4"),
        (argon2id("m=19456,t=2,p=5"), "argon2id with p out of bounds: expected 1 to 4"),
        (argon2id("m=19456,t=2,p=4294967295"), "argon2id with p out of bounds: expected 1 to 4"),
        (scrypt("ln=17,r=8,p=1"), "scrypt with ln (64 MiB for this r) out of bounds: expected 1 to 16"),
        (scrypt("ln=63,r=8,p=1"), "scrypt with ln (64 MiB for this r) out of bounds: expected 1 to 16"),
        (scrypt("ln=0,r=8,p=1"), "scrypt with ln (64 MiB for this r) out of bounds: expected 1 to 16"),
        (scrypt("ln=1,r=65,p=1"), "scrypt with r out of bounds: expected 1 to 64"),
        (scrypt("ln=1,r=2147483648,p=4"), "scrypt with r out of bounds: expected 1 to 64"),
        (scrypt("ln=14,r=8,p=5"), "scrypt with p out of bounds: expected 1 to 4"),
        (bcrypt("13"), "bcrypt with cost out of bounds: expected 4 to 12"),
        (bcrypt("03"), "bcrypt with cost out of bounds: expected 4 to 12"),
        (argon2id("m=19456,t=2,p=1").replace(output, "qLaQ6Xk1q2yqQYqY4J5m"), "expected 16 to 64"),
    ] {
        let refused = StoredHash::parse_imported(&bad).unwrap_err();
        assert!(matches!(refused, HashRefused::OutOfBounds { .. }), "{bad}: {refused}");
        assert!(refused.to_string().ends_with(bounds), "{bad}: {refused}");
        assert!(StoredHash::parse(&bad).is_none());
    }
}

#[test]
fn what_is_no_hash_is_refused_with_its_reason_and_without_its_text() {
    let malformed = |kind| HashRefused::Malformed { kind };
    let argon2id =
        "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A";
    for (bad, why) in [
        (String::new(), HashRefused::UnknownForm),
        ("plain".to_owned(), HashRefused::UnknownForm),
        (argon2id.replace("argon2id", "argon2i"), HashRefused::UnknownForm),
        (argon2id.replace("argon2id", "argon2d"), HashRefused::UnknownForm),
        (BCRYPT.replace("$2a$", "$2x$"), HashRefused::UnknownForm),
        ("$pbkdf2-sha256$i=1$c2FsdHNhbHQ$aGFzaGhhc2g".to_owned(), HashRefused::UnknownForm),
        (argon2id.replace("v=19", "v=16"), HashRefused::Argon2Version),
        (argon2id.replace("v=19$", ""), HashRefused::Argon2Version),
        (argon2id.replace(",p=1", ""), malformed(HashKind::Argon2id)),
        (argon2id.replace("p=1", "p=1,m=4194304"), malformed(HashKind::Argon2id)),
        (argon2id.replace("p=1", "p=1,data=AAAA"), malformed(HashKind::Argon2id)),
        (argon2id.replace("AwMDAwMDAwMDAwMDAwMDAw", "AwMD"), malformed(HashKind::Argon2id)),
        (argon2id[..argon2id.rfind('$').unwrap()].to_owned(), malformed(HashKind::Argon2id)),
        (format!("{argon2id}$more"), malformed(HashKind::Argon2id)),
        (format!("x{argon2id}"), malformed(HashKind::Argon2id)),
        (SCRYPT.replace("$ln", "$v=1$ln"), malformed(HashKind::Scrypt)),
        (SCRYPT.replace("ln=14,", ""), malformed(HashKind::Scrypt)),
        (BCRYPT.replace("$05$", "$+5$"), malformed(HashKind::Bcrypt)),
        (BCRYPT.replace("$05$", "$ü$"), malformed(HashKind::Bcrypt)),
        (BCRYPT[..59].to_owned(), malformed(HashKind::Bcrypt)),
        (format!("{SHA256}A"), malformed(HashKind::Sha256)),
    ] {
        let refused = StoredHash::parse_imported(&bad).unwrap_err();
        assert_eq!(refused, why, "{bad}");
        assert!(!refused.to_string().contains("qLaQ6Xk1"), "{refused}");
    }
    assert_eq!(format!("{:?}", StoredHash::parse(argon2id).unwrap()), "StoredHash");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,120}") {
        let _ = StoredHash::parse(&text);
    }

    #[test]
    fn our_own_form_is_read_as_any_other_reader_of_it_does(
        costs in proptest::collection::vec(prop_oneof![0u32..20, 19_000u32..70_000, any::<u32>()], 3),
        place in 0usize..120,
        byte in prop_oneof![Just(b'0'), Just(b'$'), Just(b','), Just(b'+'), any::<u8>()],
        is_damaged in any::<bool>(),
    ) {
        let [memory, passes, lanes] = [costs[0], costs[1] % 6, costs[2] % 6];
        let tail = &ARGON2ID[ARGON2ID.find("$c29t").unwrap()..];
        let mut text = format!("$argon2id$v=19$m={memory},t={passes},p={lanes}{tail}").into_bytes();
        if is_damaged {
            let place = place % text.len();
            text[place] = byte;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let any = PasswordHash::new(&text).map_err(|_| ()).and_then(|phc| Argon2id::read(&phc).map_err(|_| ()));
        if let Some(own) = Argon2id::read_own(&text) {
            prop_assert!(own.map_err(|_| ()) == any, "{}", text);
        } else {
            prop_assert!(is_damaged || [memory, passes, lanes].contains(&0), "{}", text);
        }
    }

    #[test]
    fn no_damage_makes_the_parser_panic_or_a_run_too_dear(
        which in 0usize..5,
        place in 0usize..120,
        byte in any::<u8>(),
    ) {
        let mut bytes = [ARGON2ID, ARGON2ID_TWO_LANES, BCRYPT, SCRYPT, SHA256][which].as_bytes().to_vec();
        let place = place % bytes.len();
        bytes[place] = byte;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(read) = StoredHash::parse(&text) {
            prop_assert_eq!(read.as_phc(), text);
        }
    }
}
