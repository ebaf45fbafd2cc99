//! The two ways in which a key's text is remembered: the fingerprint and the stored slow hash.
//!
//! A [`Fingerprint`] is keyed BLAKE3 of the whole text, under a key derived from the install secret; without
//! that secret it tells nothing. A [`StoredHash`] is an argon2id PHC string whose cost lies inside stated
//! bounds, checked when it is read and never by running it. Both compare in constant time and neither shows
//! itself in debug output.
//!
//! Never here: where the install secret lives, or on which thread the slow hash runs.

use std::fmt;
use std::hash::{Hash, Hasher};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::key::PresentedKey;

/// Bytes of the install secret.
pub const INSTALL_SECRET_LEN: usize = 32;
/// Bytes of salt in a hash of our own making.
pub const SALT_LEN: usize = 16;
/// Bytes of output in a hash of our own making.
const OUTPUT_LEN: usize = 32;

const FINGERPRINT_CONTEXT: &str = "keyward 2026-11-22 fingerprint of a key text";
const SECRET_ID_CONTEXT: &str = "keyward 2026-11-22 name of an install secret";

/// Names an install secret without telling it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SecretId([u8; 8]);

impl SecretId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// Makes fingerprints. Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct Fingerprinter {
    key: [u8; 32],
    #[zeroize(skip)]
    made_by: SecretId,
}

impl Fingerprinter {
    /// The fingerprinter of an install secret.
    pub fn new(install_secret: &[u8; INSTALL_SECRET_LEN]) -> Self {
        let mut made_by = [0; 8];
        blake3::Hasher::new_derive_key(SECRET_ID_CONTEXT)
            .update(install_secret)
            .finalize_xof()
            .fill(&mut made_by);
        Self { key: blake3::derive_key(FINGERPRINT_CONTEXT, install_secret), made_by: SecretId(made_by) }
    }

    /// The fingerprint of a whole key text, tag and check included.
    pub fn fingerprint(&self, presented: &PresentedKey<'_>) -> Fingerprint {
        Fingerprint(*blake3::keyed_hash(&self.key, presented.text()).as_bytes())
    }

    /// Which install secret made it.
    pub const fn made_by(&self) -> SecretId {
        self.made_by
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprinter")
    }
}

/// Keyed BLAKE3 of a whole key text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// A fingerprint is uniform to whoever does not know the install secret, so its first eight bytes are as good
/// a hash as any.
impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        state.write_u64(u64::from_le_bytes(first));
    }
}

impl Fingerprint {
    /// The fingerprint with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// A fingerprint as it stands in the store, with the name of the install secret that made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredFingerprint {
    /// The install secret it was made under.
    pub made_by: SecretId,
    /// The fingerprint.
    pub fingerprint: Fingerprint,
}

impl StoredFingerprint {
    /// Whether both are of one text, in constant time. Meaningful only under one install secret.
    pub(super) fn matches(&self, presented: &Fingerprint) -> bool {
        self.fingerprint.0.ct_eq(&presented.0).into()
    }
}

/// What one slow hash costs: memory in KiB and passes over it, one lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlowHashCost {
    memory_kib: u32,
    passes: u32,
}

impl SlowHashCost {
    /// The cost of new hashes by default: 19 MiB and 2 passes, the least that OWASP's password storage sheet
    /// names for argon2id.
    pub const DEFAULT: Self = Self { memory_kib: 19_456, passes: 2 };
    /// The most memory that any hash may take, in KiB: each worker owns as much.
    pub const MEMORY_KIB_MAX: u32 = 65_536;
    /// The least memory that argon2 can run in, in KiB.
    pub const MEMORY_KIB_MIN: u32 = 8;
    /// The most passes.
    pub const PASSES_MAX: u32 = 4;

    /// A cost inside the bounds; `None` outside.
    pub fn new(memory_kib: u32, passes: u32) -> Option<Self> {
        let fits = (Self::MEMORY_KIB_MIN..=Self::MEMORY_KIB_MAX).contains(&memory_kib)
            && (1..=Self::PASSES_MAX).contains(&passes);
        fits.then_some(Self { memory_kib, passes })
    }

    fn argon2(self) -> Option<Argon2<'static>> {
        let params = Params::new(self.memory_kib, self.passes, 1, Some(OUTPUT_LEN)).ok()?;
        Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

/// The memory that a slow hash runs in. A worker keeps one: fresh pages cost as much as the hash.
#[derive(Default)]
pub struct SlowHashMemory(Vec<Block>);

impl SlowHashMemory {
    fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0.resize(count, Block::new());
        }
        self.0.get_mut(..count).unwrap_or_default()
    }
}

impl fmt::Debug for SlowHashMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlowHashMemory({} KiB)", self.0.len())
    }
}

/// A slow hash at rest, its cost known to be inside the bounds.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    phc: Box<str>,
    cost: SlowHashCost,
    salt: Salt,
    output: Output,
}

impl StoredHash {
    /// Reads an argon2id PHC string, version 19, one lane, 32 bytes of output; `None` when it is anything
    /// else or its cost lies outside the bounds of [`SlowHashCost`].
    pub fn parse(phc: &str) -> Option<Self> {
        let parsed = PasswordHash::new(phc).ok()?;
        let params = Params::try_from(&parsed).ok()?;
        let ours = parsed.algorithm == ARGON2ID_IDENT
            && parsed.version == Some(Version::V0x13.into())
            && params.p_cost() == 1
            && params.keyid().is_empty()
            && params.data().is_empty();
        let cost = SlowHashCost::new(params.m_cost(), params.t_cost())?;
        let output = parsed.hash.filter(|output| ours && output.len() == OUTPUT_LEN)?;
        Some(Self { phc: phc.into(), cost, salt: parsed.salt?, output })
    }

    /// Runs the slow hash over a new key's text. `None` only if argon2 itself refuses, which a cost inside
    /// the bounds never causes.
    pub fn create(
        presented: &PresentedKey<'_>,
        salt: [u8; SALT_LEN],
        cost: SlowHashCost,
        memory: &mut SlowHashMemory,
    ) -> Option<Self> {
        let salt = Salt::new(&salt).ok()?;
        let output = Output::new(&*run(presented, &salt, cost, memory)?).ok()?;
        let params = ParamsString::try_from(cost.argon2()?.params()).ok()?;
        let version = Some(Version::V0x13.into());
        let parsed =
            PasswordHash { algorithm: ARGON2ID_IDENT, version, params, salt: Some(salt), hash: Some(output) };
        Some(Self { phc: parsed.to_string().into(), cost, salt, output })
    }

    /// Runs the slow hash over a presented text and compares in constant time.
    pub(super) fn matches(&self, presented: &PresentedKey<'_>, memory: &mut SlowHashMemory) -> bool {
        run(presented, &self.salt, self.cost, memory)
            .is_some_and(|output| output.ct_eq(self.output.as_bytes()).into())
    }

    /// The PHC string, for the store alone.
    pub fn as_phc(&self) -> &str {
        &self.phc
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash")
    }
}

fn run(
    presented: &PresentedKey<'_>,
    salt: &Salt,
    cost: SlowHashCost,
    memory: &mut SlowHashMemory,
) -> Option<zeroize::Zeroizing<[u8; OUTPUT_LEN]>> {
    let argon2 = cost.argon2()?;
    let blocks = memory.blocks(argon2.params().block_count());
    let mut output = zeroize::Zeroizing::new([0; OUTPUT_LEN]);
    let salt: &[u8] = salt.as_ref();
    let done = argon2.hash_password_into_with_memory(presented.text(), salt, output.as_mut(), &mut *blocks);
    // The output is a hash of the last block, so that one goes; the rest stays until the next run, since
    // wiping it all costs as much as a pass.
    blocks.iter_mut().next_back().into_iter().for_each(Zeroize::zeroize);
    done.ok().map(|()| output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::{MINT_RANDOM_BYTES, RawKey, Tag};

    const CHEAP: SlowHashCost = SlowHashCost { memory_kib: 8, passes: 1 };

    fn key(byte: u8) -> RawKey {
        RawKey::mint(&Tag::parse("sk_live_").unwrap(), &[byte; MINT_RANDOM_BYTES]).unwrap()
    }

    #[test]
    fn a_hash_matches_its_own_text_only_and_survives_its_phc_string() {
        let mut memory = SlowHashMemory::default();
        let hash = StoredHash::create(&key(1).as_presented(), [3; SALT_LEN], CHEAP, &mut memory).unwrap();
        let read = StoredHash::parse(hash.as_phc()).unwrap();
        assert!(read == hash);
        assert!(read.matches(&key(1).as_presented(), &mut memory));
        assert!(!read.matches(&key(2).as_presented(), &mut memory));
    }

    #[test]
    fn a_phc_string_beyond_the_bounds_is_refused_unrun() {
        let good = "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A";
        assert!(StoredHash::parse(good).is_some());
        for (from, to) in [
            ("m=19456", "m=4194304"),
            ("t=2", "t=1000000"),
            ("p=1", "p=4"),
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A", ""),
            ("$qLaQ6Xk1q2yqQYqY4J5m7sBvSmVv1cJ3o6F0b3cQd1A", "$qLaQ6Xk1q2yqQYqY4J5m7g"),
        ] {
            assert!(StoredHash::parse(&good.replace(from, to)).is_none(), "{to}");
        }
    }

    #[test]
    fn fingerprints_differ_by_text_and_by_install_secret() {
        let (one, other) = (Fingerprinter::new(&[1; 32]), Fingerprinter::new(&[2; 32]));
        let print = one.fingerprint(&key(1).as_presented());
        assert!(print == one.fingerprint(&key(1).as_presented()));
        assert!(print != one.fingerprint(&key(2).as_presented()));
        assert!(print != other.fingerprint(&key(1).as_presented()));
        assert_ne!(one.made_by(), other.made_by());
        assert_eq!(format!("{one:?} {print:?}"), "Fingerprinter Fingerprint");
    }

    #[test]
    fn a_cost_outside_its_bounds_is_none() {
        for (memory_kib, passes) in [(7, 2), (65_537, 2), (19_456, 0), (19_456, 5)] {
            assert!(SlowHashCost::new(memory_kib, passes).is_none(), "{memory_kib} {passes}");
        }
    }
}
